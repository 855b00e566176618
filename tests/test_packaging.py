"""The wheel carries everything a stranger needs: code, registry, shipped checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHIPPED_LIMIT_BYTES = 1_000_000  # all shipped checkpoints together
SHIPPED_RESULTS_LIMIT_BYTES = 10_000_000  # before compression; the wheel packs them to a tenth


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [file] = target.glob("*.whl")
    return file


def test_wheel_holds_registry_and_checkpoints(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "harness/shipped/registry.yaml" in names
    for file in (ROOT / "checkpoints" / "shipped").glob("*.safetensors"):
        assert f"harness/shipped/checkpoints/{file.name}" in names
    assert not [name for name in names if name.startswith("tests/")]


def test_unpacked_wheel_lists_its_registry_away_from_the_clone(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "BENCH_HOME": str(tmp_path / "home")}
    code = "from cli import main; main(['list', 'digits', '--json'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)
    assert {row["checkpoint"]["status"] for row in rows} == {"shipped"}


def run_from(wheel: Path, tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command line of the unpacked wheel, in a fresh home and away from the clone."""
    site = tmp_path / "site"
    if not site.exists():
        zipfile.ZipFile(wheel).extractall(site)
    environment = {**os.environ, "PYTHONPATH": str(site), "BENCH_HOME": str(tmp_path / "home")}
    environment.pop("BENCH_RECORD")
    code = f"from cli import main; main({list(arguments)!r})"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )


def test_unpacked_wheel_shows_the_projects_results_in_a_fresh_home(
    wheel: Path, tmp_path: Path
) -> None:
    done = run_from(wheel, tmp_path, "table", "--dataset", "cifar10", "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["entry"]: row for row in json.loads(done.stdout)}
    assert rows["dense-resnet20-cifar10"]["published_top1_pct"] == "91.73"
    assert len(rows) > 20
    assert not (tmp_path / "home").exists()  # nothing was written


def test_record_says_that_a_wheel_has_no_record_to_write(wheel: Path, tmp_path: Path) -> None:
    done = run_from(wheel, tmp_path, "record", "dense-resnet20-cifar10")
    assert done.returncode == 2 and "this is no clone" in done.stderr


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
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=context, check=True, capture_output=True)
    [made] = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(made).namelist()) == set(zipfile.ZipFile(wheel).namelist())
