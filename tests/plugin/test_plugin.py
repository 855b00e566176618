"""A method, a network and a data set of somebody else: installed by pip, used outside the clone."""

import json
from pathlib import Path

import pytest

from tests.support.installed import build_wheel, environment, run

HERE = Path(__file__).parent
EXTRA = HERE / "package" / "extra.yaml"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The bin folder of an environment with the project's wheel and the other package."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("packages")
    wheels = [build_wheel(folder), build_wheel(folder / "other", HERE / "package")]
    return environment(folder / "environment", wheels)


@pytest.mark.slow
def test_an_installed_method_and_registry_train_like_our_own(packages, tmp_path):
    names = run(packages, tmp_path, "bench", "list", "--methods", "--json")
    assert "checkerboard" in names.stdout
    done = run(
        *(packages, tmp_path, "bench", "reproduce", "checkerboard-convnet-tiny-digits-75"),
        *("--registry", EXTRA, "--mode", "train", "--no-tracking", "--json"),
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["method"], result["mode"]) == ("checkerboard", "trained")
    kept = {"conv1": 36, "conv2": 1152, "conv3": 2304, "fc": 80}  # a quarter of each, exactly
    assert {row["name"]: row["nnz"] for row in result["cost"]["layers"]} == kept


def test_method_network_and_data_set_of_a_package_work_together(packages, tmp_path):
    done = run(
        *(packages, tmp_path, "bench", "train", "--method", "checkerboard"),
        *("--model", "stripes_net", "--dataset", "stripes", "--set", "epochs=8"),
        *("--set", "settings.period=2", "--no-tracking", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert "stripes v1: 2 classes, 128 train and 64 test images" in done.stderr
    result = json.loads(done.stdout)
    assert (result["model"], result["dataset"]) == ("stripes_net", "stripes")
    assert result["data"]["copy_name"] == "as its package reads it"
    assert {row["name"]: row["nnz"] for row in result["cost"]["layers"]} == {"conv": 36, "fc": 8}
    assert result["counts"]["n"] == 64
    table = run(packages, tmp_path, "bench", "table", "--dataset", "stripes")
    assert table.returncode == 0 and "stripes-net" in table.stdout, table.stderr


@pytest.mark.slow
def test_a_package_is_taken_by_every_verb(packages, tmp_path):
    network = ("--model", "stripes_net", "--dataset", "stripes")
    pruned = ("--target", "0.5", "--dense", "1ep", "--finetune", "1ep", "--name", "half")
    for words in (
        ("train", "--method", "dense", *network, "--set", "epochs=2", "--name", "whole"),
        ("prune", "--method", "magnitude", *network, *pruned),
        ("profile", *network),
        ("latency", *network, "--batch", "1", "--backend", "eager", "--no-memory"),
        ("export", "whole", "net.onnx", "--to", "onnx"),
        ("list", "--datasets"),
        ("table", "--dataset", "stripes", "--format", "latex"),
    ):
        done = run(packages, tmp_path, "bench", *words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
    assert "whole" in done.stdout and "half" in done.stdout


def test_without_the_package_the_registry_file_is_refused(installed, tmp_path):
    done = run(installed, tmp_path, "bench", "list", "--registry", EXTRA)
    assert done.returncode == 2
    assert "no method is called 'checkerboard'" in done.stderr.splitlines()[-1]
