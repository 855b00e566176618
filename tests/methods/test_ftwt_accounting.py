"""Effective MACs: the official counter, the strict count, spreads and the estimate."""

from __future__ import annotations

import json

import pytest
import torch
import torchvision
from torch import nn

from harness.models.cifar_resnet import CifarResNet
from harness.models.cifar_vgg import VGG16_PLAN, CifarVGG
from harness.models.mobilenetv1 import MobileNetV1
from methods.base import Schedule
from methods.ftwt import FTWT, FTWTSettings
from methods.ftwt.accounting import (
    GateCost,
    MacCosts,
    MacTally,
    expected_reduction,
    gated_costs,
    mac_costs,
)
from methods.ftwt.gates import ground_truth_mask
from methods.ftwt.layers import describe
from tests.methods.ftwt_fixtures import FOLDER, randomise, small_net

RTOL_OFFICIAL = 1e-6  # the official counter adds up in float32
FULL = json.loads((FOLDER / "accounting_full_nets.json").read_text())


def full_net(name: str) -> nn.Module:
    with torch.device("meta"):  # shapes are all that counting needs
        if name == "vgg16_bn":
            model: nn.Module = CifarVGG(VGG16_PLAN)
        elif name == "resnet56":
            model = CifarResNet(56, "avgpool")
        else:
            model = MobileNetV1(10, stem_stride=1, pool_size=2)
    return model.eval()


@pytest.mark.parametrize("key", list(FULL))
def test_full_nets_cost_exactly_what_is_stored(key: str) -> None:
    stored = FULL[key]
    model = full_net(key.split("/")[0])
    image = torch.empty(1, 3, 32, 32, device="meta")
    costs = mac_costs(model, describe(model), image)
    active = torch.tensor(stored["active"], dtype=torch.int64)
    tally = MacTally(costs)
    tally.update(active[:1])
    tally.update(active[1:])
    macs = tally.result()
    assert costs.reported_dense == stored["table_dense_macs"]
    assert costs.strict_dense == stored["strict_dense_macs"]
    assert costs.strict_total(active).tolist() == stored["strict_flops"]
    reported = costs.reported(active).double()
    assert torch.allclose(reported, torch.tensor(stored["layer_flops"]).double(), RTOL_OFFICIAL, 0)
    assert macs.reported.mean == pytest.approx(stored["avg_flops"], rel=RTOL_OFFICIAL)
    assert macs.reported.reduction_pct == pytest.approx(stored["reduction_pct"], abs=1e-4)
    assert macs.strict.reduction_pct == pytest.approx(stored["strict_reduction_pct"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "head_macs", "conv_macs"),
    [
        ("vgg16_bn", 1_634_496, 313_196_544),
        ("resnet56", 94_256, 125_485_056),
        ("mobilenetv1", 5_930_080, 46_344_192),
    ],
)
def test_heads_and_convolutions_cost_the_documented_macs(
    name: str, head_macs: int, conv_macs: int
) -> None:
    model = full_net(name)
    image = torch.empty(1, 3, 32, 32, device="meta")
    costs = mac_costs(model, describe(model), image)
    assert (costs.head_macs, costs.conv_macs) == (head_macs, conv_macs)


def test_torchvision_resnet18_counts_its_downsampling_in_full() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet18().eval()
    costs = mac_costs(model, describe(model), torch.empty(1, 3, 224, 224, device="meta"))
    downsampling = sum(56 * 56 // 4**i * 64 * 2**i * 64 * 2**i // 2 for i in (1, 2, 3))
    assert costs.conv_macs == 1_813_561_344
    assert costs.head_macs == 1_220_800
    assert costs.linear_macs == 512_000
    assert costs.ungated_conv_macs == downsampling
    everything = torch.tensor([[gate.out_channels for gate in costs.gates]])
    assert costs.reported_dense == int(costs.reported_total(everything))


def test_means_are_exact_over_batches() -> None:
    gate = GateCost("conv", 10, 1, 8, 1, None, False, 5)
    tally = MacTally(MacCosts((gate,), 100, 7))
    tally.update(torch.tensor([[2], [4]]))
    tally.update(torch.tensor([[6]]))
    macs = tally.result()
    assert (macs.images, macs.reported.mean, macs.strict.mean) == (3, 140.0, 152.0)
    assert macs.kept_frac == {"conv": 0.5}
    assert macs.reported.dense == 180 and macs.strict.dense == 187


def test_counts_beyond_single_precision_stay_exact() -> None:
    gate = GateCost("conv", 2**24 + 1, 1, 1, 1, None, False, 0)
    tally = MacTally(MacCosts((gate,), 0, 0))
    tally.update(torch.ones(3, 1, dtype=torch.int64))
    assert tally.result().reported.mean == 2**24 + 1


def test_grouped_convolution_is_never_counted_narrow_in_the_strict_count() -> None:
    first = GateCost("a", 1, 3, 8, 1, None, False, 0)
    grouped = GateCost("b", 1, 8, 8, 2, 0, True, 0)
    active = torch.tensor([[5, 4]])
    costs = MacCosts((first, grouped), 0, 0)
    assert costs.reported(active).tolist() == [[15, 8]]  # floor(5 / 2) = 2
    assert int(costs.strict_total(active)) == 15 + 16


def test_effective_macs_follow_the_masks_over_all_batches() -> None:
    model = randomise(small_net("resnet"), seed=4)
    method = FTWT(FTWTSettings(softmax=False))
    method.attach(model, Schedule(1, 1))
    model.eval()
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    macs = FTWT.effective_macs(model, images.split(3))
    with torch.no_grad():
        model(images)
    costs = gated_costs(model, images[:1])
    model(images)
    active = method.gates.active()
    assert macs.images == 7
    assert macs.reported.mean == float(costs.reported_total(active).double().mean())
    assert macs.strict.mean == float(costs.strict_total(active).double().mean())
    with pytest.raises(ValueError, match="no images"):
        FTWT.effective_macs(model, [])
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        FTWT.effective_macs(model.train(), [images])


def test_estimate_applies_the_ground_truth_to_dense_activations() -> None:
    model = randomise(small_net("vgg"), seed=5)
    layers = describe(model)
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = expected_reduction(model, layers, images.split(2), [-1.0, 0.8])
    features, kept = images, []
    with torch.no_grad():
        for module in model.features:
            features = module(features)
            if isinstance(module, nn.ReLU):
                kept.append(ground_truth_mask(features, 0.8).sum(1))
    costs = mac_costs(model, layers, images[:1])
    expected = costs.reported_total(torch.stack(kept, 1)).double().mean()
    assert found[0].reported_reduction_pct == 0 and found[0].kept_pct == 100
    assert found[0].strict_reduction_pct < 0  # heads come on top
    assert found[1].mass == 0.8
    assert found[1].reported_reduction_pct == pytest.approx(
        100 * (1 - float(expected) / costs.reported_dense), abs=1e-9
    )
    assert not any(module._forward_hooks for module in model.modules())


def test_estimate_grows_as_the_threshold_falls() -> None:
    model = randomise(small_net("resnet"), seed=6)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = expected_reduction(model, describe(model), [images], [1.0, 0.9, 0.7, 0.5])
    reductions = [row.reported_reduction_pct for row in found]
    assert reductions == sorted(reductions) and reductions[0] < reductions[-1]


def test_estimate_refuses_a_gated_network_and_no_images() -> None:
    model = small_net("vgg").eval()
    layers = describe(model)
    with pytest.raises(ValueError, match="no images"):
        expected_reduction(model, layers, [], [0.9])
    FTWT(FTWTSettings()).attach(model, Schedule(1, 1))
    with pytest.raises(ValueError, match="needs the dense network"):
        expected_reduction(model, layers, [torch.rand(1, 3, 32, 32)], [0.9])
