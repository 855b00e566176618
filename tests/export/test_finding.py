"""Every verb that takes a network takes an entry, a run, a file with its model, and a name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import prune

from harness.models import build, own_code
from harness.results import load_all
from tests.commands.conftest import Bench, bench, document

__all__ = ["bench"]  # a fixture

OWN = ("--model", "convnet_tiny", "--dataset", "digits")
SHORT = ("--set", "epochs=1", "--no-tracking", "--json")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A convnet_tiny, half of its classifier zero, as torch's prune leaves it."""
    torch.manual_seed(3)
    network = build("convnet_tiny", num_classes=10, in_channels=1)
    prune.l1_unstructured(network.get_submodule("fc"), "weight", 0.5)
    torch.save({"net": network.state_dict()}, tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


def test_a_file_is_profiled_exported_compressed_and_allocated(
    bench: Bench, file: Path, tmp_path: Path
) -> None:
    cost = document(bench("profile", *OWN, "--weights", file, "--json"))
    [fc] = [row for row in cost["layers"] if row["name"] == "fc"]
    assert fc["nnz"] * 2 == fc["total"]
    done = bench("export", tmp_path / "out.safetensors", *OWN, "--weights", file, "--json")
    assert done.exit_code == 0, done.stderr
    assert document(done)["weights"].startswith("file mine.pt, sha256 ")
    assert int((load_file(tmp_path / "out.safetensors")["fc.weight"] == 0).sum()) == fc["nnz"]
    sizes = document(bench("compress", *OWN, "--weights", file, "--json"))
    assert [row["nonzero"] for row in sizes["layers"] if row["name"] == "fc.weight"] == [fc["nnz"]]
    chosen = ("--calibration", "16", "--set", "points=3", "--target", "0.3", "--json")
    planned = bench("allocation", *OWN, "--weights", file, *chosen)
    assert planned.exit_code == 0, planned.stderr


def test_a_run_starts_from_a_file_and_is_found_by_its_name(
    bench: Bench, file: Path, tmp_path: Path
) -> None:
    method = ("--method", "dense", *OWN, "--weights", file, "--name", "my-run")
    planned = bench("train", *method, "--dry-run").stdout
    assert "start      file mine.pt" in planned
    done = bench("train", *method, *SHORT)
    assert done.exit_code == 0, done.stderr
    [result] = load_all(entry="my-run")
    assert result.checkpoint is not None and result.checkpoint.source == "file:mine.pt"
    cost = document(bench("profile", "my-run", "--json"))
    assert (cost["id"], cost["nnz"]) == ("my-run", result.cost.nnz)
    out = tmp_path / "run.safetensors"
    assert bench("export", "my-run", out).exit_code == 0
    assert bench("compress", "my-run", "--json").exit_code == 0
    again = bench("profile", *OWN, "--weights", out, "--json")
    assert document(again)["nnz"] == result.cost.nnz


NETWORK = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, num_classes, in_channels):
        conv = nn.Conv2d(in_channels, 8, 3)
        super().__init__(
            conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)
        )
"""


QUICK = {"profile": (), "eval": ("--no-tracking",), "compress": (), "export": ("out.onnx",)}
SLOWER = {
    "latency": ("--batch", "1", "--backend", "eager", "--no-memory"),
    "allocation": ("--calibration", "16", "--set", "points=3", "--target", "0.3"),
    "estimate": ("--method", "ftwt", "--images", "20"),
    "shrink": ("--channels", "0.5", "--out", "half.safetensors"),
}


@pytest.mark.parametrize("verbs", [QUICK, pytest.param(SLOWER, marks=pytest.mark.slow)])
def test_a_run_of_ones_own_code_is_named_with_its_code_in_every_verb(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verbs: dict[str, tuple[str, ...]]
) -> None:
    monkeypatch.setattr(own_code, "_IMPORTED", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(NETWORK)
    code = ("--model", "nets.py:Net")
    train = ("train", "--method", "dense", *code, "--dataset", "digits", "--name", "mine")
    trained = document(bench(*train, *SHORT))
    if not importlib.util.find_spec("torch_pruning"):
        verbs = {verb: more for verb, more in verbs.items() if verb != "shrink"}
    for verb, more in verbs.items():
        own_code._IMPORTED.clear()
        refused = bench(verb, "mine", *more)
        assert refused.exit_code == 2, verb
        said = refused.stderr.splitlines()[-1]
        assert "mine is a run of nets.py:Net" in said and "add --model path/to/nets.py:Net" in said
        done = bench(verb, "mine", *more, *code, "--json")
        assert done.exit_code == 0, (verb, done.stderr)
        if verb == "eval":
            assert document(done)["entry"] == "mine-evaluated"
            assert document(done)["counts"] == trained["counts"]
            assert document(done)["checkpoint"]["source"] == "run:mine/seed0"
    (tmp_path / "nets.py").write_text(NETWORK.replace("ReLU", "Tanh"))
    changed = bench("profile", "mine", *code)
    assert "nets.py:Net is not the file that mine was trained with" in changed.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("profile",), "say which network: the ID of an entry, the name of a run, or --model"),
        (("profile", "x", *OWN), "'x' says by itself which data set it is for"),
        (("profile", "--model", "convnet_tiny"), "--model needs its data set"),
        (("profile", "dense-convnet-tiny-digits", "--weights", "f"), "--weights goes with --model"),
        (("profile", "no-such-run"), "no entry or run is called 'no-such-run'"),
        (("profile", "README.md"), "'README.md' is a file; say so: --model NAME"),
        (("profile", "net.py:Net"), "'net.py:Net' is code; say so: --model net.py:Net"),
        (("profile", "dense-convnet-tiny-digits", "--model", "resnet20"), "is a network convnet_"),
        (("eval",), "say which network"),
        (("eval", *OWN), "convnet_tiny has no weights yet; give them: --weights FILE"),
        (("latency",), "give IDs of entries or names of runs"),
        (("estimate", "--method", "ftwt"), "say which network"),
        (("shrink", "--out", "s"), "give a run, an entry or a result, or --model NAME"),
        (("export", "out.onnx", *OWN), "convnet_tiny has no weights yet; give them: --weights"),
        (("export", "out.onnx"), "give ID FILE, or --model NAME"),
        (("compress", *OWN), "give them: --weights FILE"),
        (("allocation", "--target", "0.5"), "say which network"),
        (("train", "--method", "dense", *OWN, "--start", "x", "--weights", "f"), "both say where"),
    ],
)
def test_what_says_too_little_or_too_much_is_one_line(
    bench: Bench, arguments: tuple[str, ...], told: str
) -> None:
    done = bench(*arguments)
    assert done.exit_code == 2, done.output
    assert told in done.stderr.splitlines()[-1]


def test_a_file_of_another_network_names_the_one_that_fits(bench: Bench, tmp_path: Path) -> None:
    save_file(dict(build("resnet20").state_dict()), tmp_path / "r.safetensors")
    done = bench("profile", *OWN, "--weights", tmp_path / "r.safetensors")
    assert done.exit_code == 4
    assert "Names and shapes are those of model resnet20." in done.stderr.splitlines()[-1]
