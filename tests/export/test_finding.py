"""Every verb that takes a network takes an entry, a run, a file with its model, and a name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import prune

from harness.models import build
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


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("profile",), "say which network: the ID of an entry, the name of a run, or --model"),
        (("profile", "x", *OWN), "say which network"),
        (("profile", "--model", "convnet_tiny"), "--model needs its data set"),
        (("profile", "dense-convnet-tiny-digits", "--weights", "f"), "--weights goes with --model"),
        (("profile", "no-such-run"), "no-such-run"),
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
