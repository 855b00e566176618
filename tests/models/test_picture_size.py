"""Networks that cannot take the pictures at hand are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from cli import main
from harness.errors import ProtocolError
from harness.models import build
from harness.models.picture_size import require_size


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("squeezenet1_1", (3, 8, 8), "Output size is too small"),
        ("vgg16_cifar", (3, 16, 16), "size"),
        ("deit_tiny_patch16_224", (3, 32, 32), "224"),
        ("resnet20", (1, 32, 32), "to have 3 channels"),
    ],
)
def test_pictures_that_do_not_fit_are_refused_with_size_and_reason(
    name: str, shape: tuple[int, int, int], reason: str
) -> None:
    channels, side, _ = shape
    with pytest.raises(ProtocolError) as caught:
        require_size(build(name), name, shape)
    told = str(caught.value)
    assert f"model {name!r} cannot take pictures of {side}x{side} with {channels} channels" in told
    assert reason in told and "\n" not in told


def test_a_network_that_fits_is_left_as_it_was() -> None:
    model = build("resnet20")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    require_size(model, "resnet20", (3, 32, 32))
    assert model.training and all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


COMMON = ["--model", "squeezenet1_1", "--dataset", "digits", "--no-tracking"]


def test_training_and_evaluation_end_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    weights = tmp_path / "w.safetensors"
    save_file(build("squeezenet1_1", num_classes=10, in_channels=1).state_dict(), weights)
    commands = (
        ["train", *COMMON, "--method", "dense", "--set", "epochs=1"],
        ["eval", *COMMON, "--weights", str(weights)],
    )
    for command in commands:
        outcome = CliRunner().invoke(main, command)
        assert outcome.exit_code == 2, outcome.output
        assert "model 'squeezenet1_1' cannot take pictures of 8x8" in " ".join(
            outcome.stderr.split()
        )
        assert "Traceback" not in outcome.output
