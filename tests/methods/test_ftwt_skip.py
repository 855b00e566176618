"""Skipping filters gives the masked forward pass, and computes what the strict count says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from methods.base import Schedule
from methods.ftwt import FTWT, FTWTSettings, skip
from methods.ftwt.accounting import gated_costs
from methods.ftwt.gates import GateOptions, attach_gates, gates_of
from methods.ftwt.layers import GatedLayer
from methods.ftwt.skip import skip_filters
from tests.methods.ftwt_fixtures import assert_near, randomise, small_net

RTOL_FOLDED = 1e-4  # folded batch normalisation rounds differently, layer after layer


@pytest.fixture(scope="module", autouse=True)
def every_layer_is_worth_skipping() -> Iterator[None]:
    """The small layers of these tests go through selection too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skip, "MIN_MACS", 0)
        yield


def gated(model: nn.Module, seed: int, keep_frac: float = 0.6, **choices: object) -> nn.Module:
    """`model` with random gates: masks differ per image, about `keep_frac` of the filters on."""
    randomise(model, seed)
    FTWT(FTWTSettings(softmax=False, **choices)).attach(model, Schedule(1, 1, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for gate in gates_of(model):
            gate.weight.normal_(0, 0.1, generator=generator)
            gate.bias.uniform_(keep_frac - 1, keep_frac, generator=generator)
    return model.eval()


def images(count: int, seed: int, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def assert_same(model: nn.Module, batch: Tensor) -> None:
    with torch.inference_mode():
        assert_near(skip_filters(model)(batch), model(batch), RTOL_FOLDED)


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    name=st.sampled_from(["vgg", "resnet", "mobilenet"]),
    seed=st.integers(0, 1000),
    keep_frac=st.floats(0.05, 0.95),
    count=st.sampled_from([1, 3]),
    after_block=st.booleans(),
)
def test_skipping_equals_masking(
    name: str, seed: int, keep_frac: float, count: int, after_block: bool
) -> None:
    model = gated(small_net(name), seed, keep_frac, after_block=after_block)
    assert_same(model, images(count, seed))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("bias", [-100.0, 100.0], ids=["all-off", "all-on"])
@pytest.mark.parametrize("name", ["vgg", "resnet", "mobilenet"])
def test_empty_and_full_masks_are_handled(name: str, bias: float, count: int) -> None:
    model = gated(small_net(name), seed=1)
    with torch.no_grad():
        for i, gate in enumerate(gates_of(model)):
            gate.bias.fill_(bias if i % 2 == 0 else -bias)
    assert_same(model, images(count, 1))
    with torch.no_grad():
        for gate in gates_of(model):
            gate.bias.fill_(bias)
    assert_same(model, images(count, 1))


def test_downsampling_convolutions_stay_whole() -> None:
    assert_same(gated(torchvision.models.resnet18(num_classes=5), seed=2), images(2, 2, side=64))


@pytest.mark.parametrize("name", ["vgg", "resnet", "mobilenet"])
def test_executed_macs_equal_the_strict_count(name: str) -> None:
    model = gated(small_net(name), seed=3)
    skipping, batch = skip_filters(model), images(1, 3)
    with torch.no_grad():
        model(batch)
        expected = gated_costs(model, batch).strict_total(gates_of(model).active())
        with FlopCounterMode(display=False) as counter:
            skipping(batch)
    assert counter.get_total_flops() == 2 * int(expected)


def test_max_pooled_joint_gates_on_plain_convolutions_can_be_skipped() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, dilation=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=2, dilation=2),
        nn.BatchNorm2d(12, affine=False),
        nn.ReLU6(),
        nn.Conv2d(12, 6, (1, 3), groups=3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
    )
    model = gated(model, seed=4, mode="joint", head_pool="max")
    assert [layer.act for layer in gates_of(model).layers] == ["relu", "relu6", "relu"]
    assert_same(model, images(1, 4, side=16))
    assert_same(model, images(3, 4, side=16))


def test_skipping_leaves_the_gated_model_alone() -> None:
    model = gated(small_net("vgg"), seed=5)
    batch = images(2, 5)
    before = model(batch)
    keys = list(model.state_dict())
    skipping = skip_filters(model)
    skipping.features[0].weight.zero_()
    assert torch.equal(model(batch), before)
    assert list(model.state_dict()) == keys
    assert not any(p.requires_grad for p in skipping.parameters())


def test_small_layers_are_computed_whole_and_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skip, "MIN_MACS", 10**9)
    assert_same(gated(small_net("resnet"), seed=6), images(2, 6))


def test_layers_that_cannot_be_folded_are_refused() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU())
    with pytest.raises(ValueError, match="needs numeric zero padding"):
        skip_filters(gated(plain, seed=7))
    free = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()
    )
    attach_gates(free, [GatedLayer("0", "1")], GateOptions(), torch.Generator())
    with pytest.raises(ValueError, match="keeps no running statistics"):
        skip_filters(free)
    with pytest.raises(ValueError, match="has no gates"):
        skip_filters(small_net("vgg"))
