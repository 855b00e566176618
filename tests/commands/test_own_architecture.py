"""A network of one's own file, in every verb that takes `--model`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from harness.models import own_code
from tests.commands.conftest import Bench, document, tiny_registry

NETWORK = """
from torch import nn


class Net(nn.Module):
    def __init__(self, num_classes=10, in_channels=3, width=8):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.fc(self.conv(images).relu().mean((2, 3)))
"""
SHORT = ("--dataset", "digits", "--set", "epochs=1", "--no-tracking", "--json")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(own_code, "_IMPORTED", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "my_nets.py"
    path.write_text(NETWORK)
    return path


def test_a_file_whose_name_no_id_can_hold_gets_a_name_without_it(bench: Bench, file: Path) -> None:
    other = file.with_name("сеть 2.py")
    other.write_text(NETWORK)
    trained = document(bench("train", "--method", "dense", "--model", f"{other}:Net", *SHORT))
    assert (trained["entry"], trained["model"]) == ("local-dense-2-net-digits", "сеть 2.py:Net")


def test_a_network_of_ones_own_is_trained_pruned_and_evaluated(
    bench: Bench, file: Path, home: Path
) -> None:
    model = ("--model", f"{file}:Net", "--model-args", "width=4")
    done = bench("train", "--method", "dense", *model, *SHORT)
    assert done.exit_code == 0, done.stderr
    trained = document(done)
    assert trained["entry"] == "local-dense-my-nets-net-width-4-digits"
    assert trained["model"] == "my_nets.py:Net(width=4)"
    assert trained["model_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert {row["name"]: row["total"] for row in trained["cost"]["layers"]} == {
        "conv": 4 * 9,
        "fc": 4 * 10,
    }
    (weights,) = home.glob("runs/local-dense-*/*/weights.safetensors")
    pruned = bench(
        *("prune", "--method", "magnitude", *model, "--dataset", "digits", "--no-tracking"),
        *("--weights", weights, "--target", "0.5", "--json"),
    )
    assert document(pruned)["cost"]["nnz"] == 76 / 2
    measured = bench(
        *("eval", *model, "--dataset", "digits", "--weights", weights, "--no-tracking", "--json")
    )
    assert document(measured)["counts"]["top1"] == trained["counts"]["top1"]
    assert document(measured)["model_sha256"] == trained["model_sha256"]


def test_another_file_of_the_same_name_is_another_run(bench: Bench, file: Path, home: Path) -> None:
    command = ("train", "--method", "dense", "--model", f"{file}:Net", *SHORT)
    assert bench(*command).exit_code == 0
    assert "reused" in bench(*command).stderr
    file.write_text(NETWORK.replace("relu()", "tanh()"))
    assert "reused" not in bench(*command).stderr
    assert len(list(home.glob("runs/local-dense-my-nets-net-digits/*/done.json"))) == 2


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("my_arch_that_is_nowhere:Net", "No module named 'my_arch_that_is_nowhere'"),
        ("./x.py:Y", "there is no file x.py"),
        ("resnet5O", "no model is called 'resnet5O'; nearest: "),
        ("x.py", "is a file; name the class in it, too: x.py:Class"),
        ("inception_v3", "cannot take pictures of 8x8 with 1 channels"),
        ("convnet_tiny(depth=3)", "'convnet_tiny' cannot be built with depth=3"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_what_cannot_be_built_fails_alike_dry_and_for_real(
    bench: Bench, model: str, message: str, dry: bool, home: Path
) -> None:
    more = ("--dry-run",) if dry else ()
    done = bench("train", "--method", "dense", "--model", model, *SHORT, *more)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not home.exists()


def test_latency_takes_a_network_of_ones_own(bench: Bench, file: Path) -> None:
    done = bench(
        *("latency", "--model", f"{file}:Net", "--dataset", "digits", "--batch", "1"),
        *("--backend", "eager", "--no-memory", "--repeats", "30", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    refused = bench("latency", "--model", f"{file}:Net", "--batch", "1")
    assert refused.exit_code == 2
    assert "Name a data set: --dataset NAME" in refused.stderr


def test_a_registry_file_runs_no_code(bench: Bench, file: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    file.write_text(f"open({str(trap)!r}, 'w')\n{NETWORK}")
    registry = tiny_registry(tmp_path)
    registry.write_text(
        registry.read_text().replace("convnet_tiny", f"{str(file)!r}".strip("'") + ":Net")
    )
    for command in (("show",), ("profile", "--dense"), ("reproduce", "--mode", "train")):
        verb, *more = command
        bench(verb, "acdc-tiny-50", "--registry", registry, *more)
    assert not trap.exists()


def test_arguments_are_key_and_value(bench: Bench) -> None:
    done = bench(
        *("train", "--method", "dense", "--model", "wrn28_10", *SHORT, "--model-args", "3")
    )
    assert done.exit_code == 2
    assert "--model-args '3': expected KEY=VALUE" in done.stderr
