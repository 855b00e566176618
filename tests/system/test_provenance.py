"""Where files live and what a number came from."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import paths
from harness.system import provenance


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    provenance.code_version.cache_clear()
    yield
    provenance.code_version.cache_clear()


def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of its own, with one commit."""
    root = tmp_path / "clone"
    root.mkdir()
    for name in ("registry.yaml", "pyproject.toml"):
        (root / name).write_text("x\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=n", "-c", "user.email=e@example", "commit", "-qm", "first")
    monkeypatch.setattr(paths, "_CLONE", root)
    return root


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_bench_home_decides_where_everything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "here"))
    monkeypatch.delenv("BENCH_DATA_ROOT", raising=False)
    home = (tmp_path / "here").resolve()
    assert paths.home() == home
    written = (
        paths.results_folder(),
        paths.checkpoint_store(),
        paths.runs_folder(),
        paths.cache_folder(),
        paths.tracking_database(),
        paths.lock_file(),
        paths.data_root(),
    )
    assert all(path.is_relative_to(home) for path in written)


def test_the_option_beats_the_environment_for_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA_ROOT", str(tmp_path / "env"))
    assert paths.data_root() == (tmp_path / "env").resolve()
    assert paths.data_root(tmp_path / "option") == (tmp_path / "option").resolve()


def test_without_bench_home_home_is_a_folder_of_the_clone_that_git_ignores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_HOME", raising=False)
    root = clone(tmp_path, monkeypatch)
    assert paths.home() == root / "home"
    assert "/home/" in (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()


def test_an_installed_package_writes_to_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BENCH_HOME", raising=False)
    monkeypatch.setattr(paths, "_CLONE", tmp_path / "site-packages")
    assert not paths.in_clone()
    assert paths.home().name == "reprune"
    assert paths.registry_file().parent.name == "shipped"
    monkeypatch.delenv("BENCH_RECORD", raising=False)
    assert paths.record_folder().parts[-2:] == ("shipped", "reports")
    found = provenance.code_version()  # built without git: named by the hash of its files
    assert (found["commit"], found["dirty"]) == (None, None) and "wheel" in found


def test_the_commit_is_recorded_and_a_change_makes_it_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = clone(tmp_path, monkeypatch)
    commit = git(root, "rev-parse", "HEAD")
    assert provenance.code_version() == {"commit": commit, "dirty": False}
    (root / "registry.yaml").write_text("y\n")
    provenance.code_version.cache_clear()
    assert provenance.code_version() == {"commit": commit, "dirty": True}


def test_results_written_into_the_clone_do_not_make_it_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = clone(tmp_path, monkeypatch)
    (root / "reports").mkdir()
    (root / "reports" / "new.json").write_text("{}")
    (root / "registry.lock").write_text("pins")
    assert provenance.code_version()["dirty"] is False


def test_a_copy_without_history_inside_another_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = clone(tmp_path, monkeypatch)
    inner = outer / "vendored"
    inner.mkdir()
    for name in ("registry.yaml", "pyproject.toml"):
        (inner / name).write_text("x\n")
    monkeypatch.setattr(paths, "_CLONE", inner)
    assert provenance.code_version() == {"commit": None, "dirty": None}


def test_versions_name_every_package_that_can_move_a_number() -> None:
    import torch

    found = provenance.versions()
    assert {"python", "torch", "torchvision", "timm", "fvcore", "numpy", "pillow"} <= found.keys()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_hardware_is_facts_and_a_hash_without_a_host_name() -> None:
    facts = provenance.hardware("cpu")
    assert facts["device"] == "cpu"
    assert facts["accelerator"] is None
    assert facts["cores"] >= 1 and facts["threads"] >= 1
    assert len(facts["machine"]) == 12
    assert socket.gethostname() not in json.dumps(facts)
    assert facts["machine"] == provenance.hardware("cpu")["machine"]


def test_the_hash_of_a_mapping_ignores_its_order() -> None:
    assert provenance.sha256_json({"a": 1, "b": [2]}) == provenance.sha256_json({"b": [2], "a": 1})
    # sha256sum of {"a":1}
    wanted = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert provenance.sha256_json({"a": 1}) == wanted
