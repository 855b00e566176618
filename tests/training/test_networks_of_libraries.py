"""Networks of timm and torchvision on CIFAR-10: a few steps, stopped and resumed, then pruned."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support.runs import Command

pytestmark = pytest.mark.realdata
BOTH = ("--dataset", "cifar10", "--no-tracking", "--set", "batch=8", "--json")


@pytest.mark.parametrize(
    ("typed", "built"),
    [
        ("vit_tiny_patch16_224", "vit_tiny_patch16_224(img_size=32)"),
        ("mobilenetv3_small_100", "mobilenetv3_small_100"),
        ("resnet18", "resnet18"),
    ],
)
def test_a_few_steps_of_training_and_pruning_resumed_once(
    tmp_path: Path, typed: str, built: str
) -> None:
    train = ["train", "--method", "dense", "--model", typed, *BOTH, "--set", "length=4it"]
    stopped = Command(tmp_path, train, save_every_s=0.0, strike=(2, signal.SIGTERM)).run(5)
    assert "The same command continues" in stopped
    resumed = Command(tmp_path, train).run()
    assert "resumed at step" in resumed
    (file,) = tmp_path.glob("reports/results/*/*.json")
    result = json.loads(file.read_text())
    assert (result["model"], result["runs"][0]["steps"]) == (built, 4)
    (weights,) = tmp_path.glob("runs/*/*/weights.safetensors")
    prune = ["prune", "--method", "magnitude", "--model", typed, *BOTH, "--weights", str(weights)]
    Command(tmp_path, [*prune, "--target", "0.5", "--finetune", "2it"]).run()
    (file,) = (f for f in tmp_path.glob("reports/results/*/*.json") if "magnitude" in f.read_text())
    cost = json.loads(file.read_text())["cost"]
    assert abs(cost["nnz"] - cost["total"] / 2) <= 1
