"""`--recalibrate N`: batch norms take the statistics of training images, and the result says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

from cli import main
from harness.data import load, resident_batches
from harness.errors import ProtocolError
from harness.evaluation import recalibrate_
from harness.evaluation.recalibration import batch_size
from harness.models import build
from harness.registry import Override
from harness.registry import load as load_registry
from harness.results import Result, load_all

PRUNED = Path("checkpoints/shipped/magnitude-convnet-tiny-digits-90.safetensors").resolve()
DENSE = PRUNED.with_name("dense-convnet-tiny-digits.safetensors")
COMMON = ["--model", "convnet_tiny", "--dataset", "digits", "--no-tracking"]


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    return tmp_path


def ran(*words: object) -> Result:
    done = CliRunner().invoke(main, [*map(str, words), *COMMON])
    assert done.exit_code == 0, done.output
    return list(load_all())[-1]


def images_of(split: str, rows: list[int] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised images and labels."""
    whole = load("digits", split)
    chosen = whole if rows is None else whole.take(torch.tensor(rows))
    (batch,) = resident_batches(chosen, load_registry().evaluations["digits"], "cpu", len(chosen))
    return batch


def by_hand(file: Path, count: int) -> nn.Module:
    """The network of `file` with statistics that torch itself averages, all images at once."""
    network = build("convnet_tiny", num_classes=10, in_channels=1)
    network.load_state_dict(load_file(file))
    total = len(load("digits", "train"))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network.train()(images_of("train", [i * total // count for i in range(count)])[0])
    return network.eval()


def test_an_evaluation_counts_what_the_recalibrated_network_answers(home: Path) -> None:
    result = ran("eval", "--weights", PRUNED, "--recalibrate", 100)
    images, labels = images_of("test")
    with torch.no_grad():
        right = int((by_hand(PRUNED, 100)(images).argmax(1) == labels).sum())
    plain = ran("eval", "--weights", PRUNED)
    assert result.counts.top1 == right != plain.counts.top1
    assert result.overrides == {"recalibrate": Override(100, None, "command line")}
    assert "batch norms recalibrated on 100 training images" in result.notes
    assert (plain.overrides, plain.notes) == ({}, result.notes[1:])
    assert result.entry == plain.entry + "-bn100"
    assert result.cost == plain.cost


def test_one_shot_pruning_stores_the_new_statistics(home: Path) -> None:
    words = ("prune", "--method", "magnitude", "--weights", DENSE, "--target", 0.9)
    result = ran(*words, "--recalibrate", 100)
    assert result.overrides["prune.recalibrate"] == Override(100, None, "command line")
    assert "batch norms recalibrated on 100 training images" in result.notes
    assert result.entry == "local-magnitude-convnet-tiny-digits-0.9-bn100"
    (file,) = home.glob("runs/*/*/weights.safetensors")
    for name, value in by_hand(file, 100).state_dict().items():
        torch.testing.assert_close(load_file(file)[name], value)
    plain = ran(*words)
    assert plain.cost.nnz == result.cost.nnz
    assert plain.counts.top1 < result.counts.top1


def test_a_network_without_batch_norms_is_refused(home: Path) -> None:
    evaluation = load_registry().evaluations["digits"]
    with pytest.raises(ProtocolError, match="--recalibrate: Linear has no batch norm"):
        recalibrate_(nn.Linear(2, 2), 10, evaluation, None, "cpu")


def test_more_images_than_there_are_is_refused(home: Path) -> None:
    evaluation = load_registry().evaluations["digits"]
    with pytest.raises(ProtocolError, match="--recalibrate 5000: the training split of digits has"):
        recalibrate_(nn.BatchNorm2d(1), 5000, evaluation, None, "cpu")


@pytest.mark.parametrize(("count", "size"), [(1, 1), (128, 128), (129, 65), (256, 128), (300, 100)])
def test_batches_are_of_one_size_up_to_one_image(count: int, size: int) -> None:
    assert batch_size(count) == size
