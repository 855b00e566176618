"""The wheel carries everything a stranger needs: code, registry, shipped checkpoints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from harness import paths
from harness.system import provenance
from tests.support.installed import ROOT, build_wheel, run

SHIPPED_LIMIT_BYTES = 1_000_000  # all shipped checkpoints together
SHIPPED_RESULTS_LIMIT_BYTES = 10_000_000  # before compression; the wheel packs them to a tenth


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_registry_and_checkpoints(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "harness/shipped/registry.yaml" in names
    for file in (ROOT / "checkpoints" / "shipped").glob("*.safetensors"):
        assert f"harness/shipped/checkpoints/{file.name}" in names
    assert not [name for name in names if name.startswith("tests/")]


def test_the_wheel_knows_the_commit_it_was_built_from(wheel: Path) -> None:
    git = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    head = subprocess.run(git, capture_output=True, text=True)
    if head.returncode:
        pytest.skip("no git, or no clone")
    built = json.loads(zipfile.ZipFile(wheel).read("harness/shipped/build.json"))
    assert built["commit"] == head.stdout.strip() and isinstance(built["dirty"], bool)


def test_results_of_a_wheel_name_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the clone: the commit it was built from, else the hash of the wheel's files."""
    asked = provenance.code_version.__wrapped__
    monkeypatch.setattr(paths, "in_clone", lambda: False)
    monkeypatch.setattr(paths, "build_file", lambda: tmp_path / "build.json")
    unknown = asked()
    assert unknown["commit"] is None and re.fullmatch("[0-9a-f]{64}", unknown["wheel"])
    (tmp_path / "build.json").write_text('{"commit": "abc", "dirty": false}')
    assert asked() == {"commit": "abc", "dirty": False}


def test_the_wheel_lists_its_registry_away_from_the_clone(installed: Path, tmp_path: Path) -> None:
    where = run(installed, tmp_path, "python", "-c", "import cli, harness; print(harness.__file__)")
    assert where.stdout.startswith(str(installed.parent)), where.stderr
    done = run(installed, tmp_path, "bench", "list", "digits", "--json")
    rows = json.loads(done.stdout)
    assert {row["checkpoint"]["status"] for row in rows} == {"shipped"}


def test_a_fresh_home_shows_the_projects_results(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "bench", "table", "--dataset", "cifar10", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["entry"]: row for row in json.loads(done.stdout)}
    assert rows["dense-resnet20-cifar10"]["published_top1_pct"] == "91.73"
    assert len(rows) > 20
    assert not (tmp_path / "home").exists()  # nothing was written


def test_record_says_that_a_wheel_has_no_record_to_write(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "bench", "record", "dense-resnet20-cifar10")
    assert done.returncode == 2 and "this is no clone" in done.stderr


@pytest.mark.slow
def test_the_quickstart_of_a_fresh_home_is_as_accepted(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "bench", "check", "--suite", "quickstart", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("home/reports/results/*/*.json"))) == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        "plot --dataset cifar10 --out tradeoff.svg",
        "report --out site",
        "claims",
        "list --datasets",
        "show dense-resnet20-cifar10",
        "table --paper acdc",
        "table --dataset imagenet --published",
        "registry check",
        "doctor",
        "export dense-convnet-tiny-digits net.onnx --to onnx",
    ],
)
def test_a_fresh_home_answers(installed: Path, tmp_path: Path, words: str) -> None:
    done = run(installed, tmp_path, "bench", *words.split())
    assert done.returncode == 0 and done.stdout, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_without_images_one_line_says_which_are_missing(installed: Path, tmp_path: Path) -> None:
    words = ("train", "--method", "dense", "--model", "resnet20", "--dataset", "cifar10")
    done = run(installed, tmp_path, "bench", *words)
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert "cifar-10-python.tar.gz: the host cannot be reached" in line
    assert f"cifar-10-python.tar.gz into {tmp_path}" in line


def test_shipped_results_stay_small() -> None:
    folders = (ROOT / "reports" / "results", ROOT / "reports" / "latency")
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < SHIPPED_RESULTS_LIMIT_BYTES


def test_shipped_checkpoints_stay_small() -> None:
    files = list((ROOT / "checkpoints" / "shipped").glob("*.safetensors"))
    assert files
    assert sum(file.stat().st_size for file in files) < SHIPPED_LIMIT_BYTES


def test_the_container_is_given_all_that_the_wheel_is_made_of(wheel: Path, tmp_path: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines  # nothing but what is named
    context = tmp_path / "context"
    for name in (line[1:] for line in lines if line.startswith("!")):
        (context / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy2(ROOT / name, context / name)
    made = build_wheel(tmp_path, context)
    whole = set(zipfile.ZipFile(wheel).namelist()) - {"harness/shipped/build.json"}  # no git there
    assert set(zipfile.ZipFile(made).namelist()) == whole
