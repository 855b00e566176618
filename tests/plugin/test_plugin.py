"""A method and a registry file of somebody else, installed and used from the command line."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCRIPT = "import methods, sys; print(methods.names(), file=sys.stderr); import cli; cli.main()"


@pytest.fixture
def installed(tmp_path):
    """A folder with what pip would put there: the module, and the entry points as metadata."""
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(HERE / "package" / "bench_checkerboard.py", site)
    project = tomllib.loads((HERE / "package" / "pyproject.toml").read_text())["project"]
    info = site / f"bench_checkerboard-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


def run(site, home, *arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
        "BENCH_HOME": str(home),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
    )


def test_an_installed_method_and_registry_train_like_our_own(installed, tmp_path):
    extra = HERE / "package" / "extra.yaml"
    done = run(
        *(installed, tmp_path, "reproduce", "checkerboard-convnet-tiny-digits-75"),
        *("--registry", extra, "--mode", "train", "--no-tracking", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert "'checkerboard'" in done.stderr.splitlines()[0]
    (result,) = json.loads(done.stdout)
    assert (result["method"], result["mode"]) == ("checkerboard", "trained")
    kept = {"conv1": 36, "conv2": 1152, "conv3": 2304, "fc": 80}  # a quarter of each, exactly
    assert {row["name"]: row["nnz"] for row in result["cost"]["layers"]} == kept


def test_method_network_and_data_set_of_a_package_work_together_outside_the_clone(
    installed, tmp_path
):
    done = run(
        *(installed, tmp_path, "train", "--method", "checkerboard", "--model", "stripes_net"),
        *("--dataset", "stripes", "--set", "epochs=8", "--set", "settings.period=2"),
        *("--no-tracking", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert "stripes v1: 2 classes, 128 train and 64 test images" in done.stderr
    result = json.loads(done.stdout)
    assert (result["model"], result["dataset"]) == ("stripes_net", "stripes")
    assert result["data"]["copy_name"] == "as its package reads it"
    assert {row["name"]: row["nnz"] for row in result["cost"]["layers"]} == {"conv": 36, "fc": 8}
    assert result["counts"]["n"] == 64
    table = run(installed, tmp_path, "table", "--dataset", "stripes")
    assert table.returncode == 0 and "stripes-net" in table.stdout, table.stderr


def test_without_the_package_the_registry_file_is_refused(tmp_path):
    extra = HERE / "package" / "extra.yaml"
    done = run(tmp_path, tmp_path, "list", "--registry", extra)
    assert done.returncode == 2
    assert "no method is called 'checkerboard'" in done.stderr.splitlines()[-1]
