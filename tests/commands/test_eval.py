"""`bench eval`: weights of one's own, by the same protocol, in the same table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.data import load
from harness.models import build
from harness.results.store import load_all
from tests.commands.conftest import ALWAYS, Bench, document
from tests.results.test_store import private


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """convnet_tiny that always answers the same class."""
    state = build("convnet_tiny", num_classes=10, in_channels=1).state_dict()
    state["fc.weight"] = torch.zeros(10, 32)
    state["fc.bias"] = torch.eye(10)[ALWAYS]
    torch.save(state, tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


def arguments(weights: Path) -> tuple[object, ...]:
    return ("eval", "--model", "convnet_tiny", "--dataset", "digits", "--weights", weights)


def test_counts_are_those_of_the_split(bench: Bench, weights: Path) -> None:
    done = bench(*arguments(weights), "--no-tracking", "--json")
    assert done.exit_code == 0, done.stderr
    result = document(done)
    assert result["entry"] == "local-convnet-tiny-digits-mine"
    labels = load("digits", "test").labels.tolist()
    assert (result["counts"]["n"], result["counts"]["top1"]) == (364, labels.count(ALWAYS))
    assert result["cost"]["nnz"] == 14_288 - 320
    assert result["verdict"]["status"] == "reported"
    assert result["checkpoint"]["source"] == "file:mine.pt"
    assert private(result) == []
    assert str(weights.parent) not in done.stdout
    [stored] = load_all()
    assert stored.result_id == result["result_id"]


def test_a_limit_is_a_smoke_run(bench: Bench, weights: Path) -> None:
    result = document(bench(*arguments(weights), "--limit", 10, "--no-tracking", "--json"))
    assert result["verdict"] == {"status": "smoke", "reason": "10 of 364 images, evenly spread"}


def test_the_name_is_mine_and_the_block_is_printed(bench: Bench, weights: Path) -> None:
    done = bench(*arguments(weights), "--name", "My Net", "--no-tracking")
    assert done.stdout.startswith("my-net  reported  n=364 images, digits v1")
    assert "evaluate on digits" in done.stderr


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        (("--model", "resnet2O"), 2, "resnet2O"),
        (("--dataset", "cifar1O"), 2, "no data set is called 'cifar1O'; nearest: cifar10"),
        (("--model", "resnet20"), 2, "cannot take pictures of 8x8 with 1 channels"),
        (("--model", "mobilenet_v2"), 4, "mine.pt: checkpoint and model do not fit"),
        (("--weights", "gone.pt"), 4, "gone.pt: no such file"),
        (("--evaluation", "imagenet-224"), 2, "no evaluation 'imagenet-224' on digits; known: "),
        (("--weights-format", "zip"), 2, "zip"),
    ],
)
def test_what_does_not_fit_is_one_line(
    bench: Bench, weights: Path, changed: tuple[str, ...], code: int, told: str
) -> None:
    done = bench(*arguments(weights), *changed, "--no-tracking")
    assert done.exit_code == code, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    assert told in line
    assert list(load_all()) == []
