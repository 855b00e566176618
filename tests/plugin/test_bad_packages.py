"""Packages that are broken, or claim a name that is taken: one line each, and the rest works."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest

from harness.errors import RegistryError
from harness.models import architectures, build, own_code
from harness.registry import data_set, data_set_facts
from methods import get

NETWORK = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, num_classes, in_channels):
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))
"""
WITHOUT_FACTS = """
from harness.data import InMemory
from harness.registry import registered


@registered(name="bare", title="Bare")
def bare():
    return InMemory(None)
"""


def package(site: Path, name: str, code: str, **points: Mapping[str, str]) -> None:
    """What pip would put into `site`; points: group without "bench." -> name -> attribute."""
    site.mkdir(exist_ok=True)
    (site / f"{name}.py").write_text(code)
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, offered in points.items():
        lines.append(f"[bench.{group}]")
        lines += [f"{point} = {name}:{attribute}" for point, attribute in offered.items()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of installed packages, read as long as the test lasts."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(own_code, "_IMPORTED", {})
    for cached in (data_set_facts._installed, data_set_facts._from_entry_point):
        cached.cache_clear()
    return site


def test_two_packages_that_claim_one_name_are_both_named(site: Path) -> None:
    for name in ("bp_one", "bp_two"):
        claimed = {"methods": {"both": "Net"}, "models": {"both": "Net"}, "datasets": {"both": "x"}}
        package(site, name, NETWORK, **claimed)
    both = "'both' is offered by bp_one:(Net|x) and bp_two:(Net|x); uninstall the package"
    with pytest.raises(KeyError, match=both):
        get("both")
    with pytest.raises(RegistryError, match=both):
        build("both", 10, 1)
    with pytest.raises(RegistryError, match=both):
        data_set("both")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import bp_missing", "ModuleNotFoundError: No module named 'bp_missing'"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("raise ValueError('a\\nb')", "ValueError: a b"),
    ],
)
def test_a_package_whose_import_fails_is_one_line(site: Path, code: str, reason: str) -> None:
    import_module("methods.str")  # from then on an attribute of the package, named like a built-in
    name = f"bp_fails_{abs(hash(code))}"
    package(site, name, code, methods={"f": "F"}, models={"f": "F"}, datasets={"f": "F"})
    for ask in (lambda: get("f"), lambda: build("f", 10, 1), lambda: data_set("f")):
        with pytest.raises((KeyError, RegistryError)) as caught:
            ask()
        (said,) = caught.value.args
        assert f"'f' is installed as {name}:F, which cannot be imported: {reason}" in said
        assert "\n" not in said and "Reinstall or remove" in said


def test_what_is_no_method_and_what_has_no_facts_is_said(site: Path) -> None:
    package(site, "bp_other", NETWORK, methods={"net": "Net"}, datasets={"net": "Net"})
    package(site, "bp_bare", WITHOUT_FACTS, datasets={"bare": "bare"})
    with pytest.raises(KeyError, match="'net' is installed as bp_other:Net, which is no methods.b"):
        get("net")
    with pytest.raises(RegistryError, match="not a harness.registry.DataSet of that name"):
        data_set("net")
    with pytest.raises(RegistryError, match="missing 4 required keyword-only arguments: 'classes'"):
        data_set("bare")


def test_names_of_ours_and_of_the_libraries_stay_what_they_are(site: Path) -> None:
    taken = {"resnet20": "Net", "resnet18": "Net", "vit_tiny_patch16_224": "Net"}
    package(site, "bp_ours", NETWORK, models=taken, methods={"magnitude": "Net"})
    assert set(taken) <= set(architectures.installed())
    for name in taken:
        assert type(build(name, 10)).__module__.partition(".")[0] != "bp_ours"
    assert get("magnitude").__module__ == "methods.magnitude"


@pytest.mark.slow
def test_lists_go_on_where_a_package_is_broken(site: Path, tmp_path: Path) -> None:
    package(site, "bp_bad", "import bp_missing", methods={"bad": "F"}, datasets={"bad-set": "F"})
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{Path.cwd()}"}
    code = "import cli; cli.main()"
    for words, name in ((["--methods"], "bad"), (["--datasets"], "bad-set")):
        done = subprocess.run(
            [sys.executable, "-c", code, "list", *words],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{name} ")]
        assert "cannot be imported" in line
