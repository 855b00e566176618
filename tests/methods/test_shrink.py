"""Shrunk networks against masked ones, and structural counts against stored numbers."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import resnet18, squeezenet1_1

from harness import models
from methods.ipruning.dead_channels import rebuild, save, shrink
from methods.ipruning.filter_layout import apply_state_, describe, unpack_bits
from methods.ipruning.residual_channels import skeleton_of, structural_counts
from tests.methods.ipruning_cases import FIXTURES, TinyNet, arrays, lived_in

# Of the largest logit, in float64: sums over fewer addends, amplified by batch statistics of few
# pixels through up to 101 layers.
RTOL_OUTPUT = 1e-9
KEPT = [r for r in json.loads((FIXTURES / "kept_counts.json").read_text()) if "dense" in r]


def squeeze_excite_resnet() -> nn.Module:
    model = resnet18()
    model.layer1[0].se = nn.Conv2d(64, 64, 1)
    return model


def assert_same_outputs(model: nn.Module, state: Tensor, images: Tensor) -> None:
    model, images = model.double(), images.double()
    layout = describe(model)
    small = shrink(model, layout, state)
    masked = copy.deepcopy(model)
    apply_state_(masked, layout, state)
    for training in (False, True):
        expected = masked.train(training)(images)
        atol = RTOL_OUTPUT * max(1.0, float(expected.detach().abs().max()))
        torch.testing.assert_close(small.train(training)(images), expected, rtol=0, atol=atol)


@settings(deadline=None, max_examples=30)
@given(st.booleans(), st.floats(0, 1), st.integers(0, 2**31))
def test_shrunk_equals_masked_on_random_states(bottleneck: bool, density: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = lived_in(TinyNet(bottleneck))
    state = torch.rand(describe(model).size, generator=generator) < density

    images = torch.randn(4, 12, 8, 8, generator=generator)
    assert_same_outputs(model, state.to(torch.uint8), images)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_shrunk_equals_masked_on_the_papers_networks(name: str) -> None:
    torch.manual_seed(0)
    model = lived_in(models.build(f"{name}_cifar", num_classes=10))
    state = torch.randint(0, 2, (describe(model).size,), dtype=torch.uint8)

    assert_same_outputs(model, state, torch.randn(2, 3, 16, 16))


def test_shrunk_equals_masked_with_the_imagenet_stem() -> None:
    torch.manual_seed(0)
    model = lived_in(resnet18(num_classes=4))
    state = torch.randint(0, 2, (describe(model).size,), dtype=torch.uint8)

    assert_same_outputs(model, state, torch.randn(2, 3, 64, 64))


@pytest.mark.parametrize("row", KEPT, ids=lambda row: row["key"])
def test_structural_counts_are_the_stored_ones(row: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = models.build(
            f"{row['arch']}_cifar", num_classes=row["n_classes"], in_channels=row["in_channels"]
        )
    state = unpack_bits(arrays("kept_states")[row["key"]], row["D"])

    counts = structural_counts(model, describe(model), state)

    assert counts["dense"] == row["dense"]
    assert counts["rows_only"] == row["derived_rows_only"]
    assert counts["structural"] == row["derived_structural"]


def test_the_shrunk_network_has_exactly_the_structural_parameters() -> None:
    model = models.build("resnet18_cifar", num_classes=10)
    row = next(r for r in KEPT if r["key"] == "resnet18|cifar10|ip|half")
    state = unpack_bits(arrays("kept_states")[row["key"]], row["D"])

    small = shrink(model, describe(model), state)

    assert sum(p.numel() for p in small.parameters()) == row["derived_structural"]["params"]


def test_a_shrunk_network_comes_back_from_its_file(tmp_path: Any) -> None:
    model = lived_in(TinyNet(bottleneck=True)).eval()
    state = torch.randint(0, 2, (describe(model).size,), generator=torch.Generator().manual_seed(1))
    small = shrink(model, describe(model), state)
    weights, description = save(small)
    torch.save(weights, tmp_path / "shrunk.pt")

    again = rebuild(description, torch.load(tmp_path / "shrunk.pt", weights_only=True))

    images = torch.randn(2, 12, 8, 8)
    assert torch.equal(again(images), small(images))
    with pytest.raises(ValueError, match="not of version"):
        rebuild(description.replace('"version": 1', '"version": 9'), weights)


def test_a_shrunk_network_computes_in_the_precision_of_its_model() -> None:
    model = lived_in(TinyNet()).eval()
    state = torch.ones(97, dtype=torch.uint8)
    images = torch.randn(3, 12, 8, 8)

    logits = shrink(model, describe(model), state)(images)

    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, model(images), rtol=0, atol=1e-5)  # float32 summation


def test_shrinking_leaves_the_model_alone() -> None:
    model = lived_in(TinyNet())
    before = copy.deepcopy(model.state_dict())

    shrink(model, describe(model), torch.zeros(97, dtype=torch.uint8))

    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_masks_that_leave_constants_behind_are_refused() -> None:
    model = TinyNet()

    with pytest.raises(ValueError, match="cannot be removed exactly"):
        shrink(model, describe(model, "ed06"), torch.ones(106, dtype=torch.uint8))


@pytest.mark.parametrize(
    "model",
    [
        lambda: squeezenet1_1(),
        lambda: models.build("resnet20"),  # zero-padded shortcuts
        squeeze_excite_resnet,
    ],
)
def test_networks_of_another_wiring_are_refused(model: Any) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="not a torchvision-keyed ResNet"):
        skeleton_of(model())
