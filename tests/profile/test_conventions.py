"""Every paper's unit on small networks, term by term, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.profile.conventions import CountedNetwork, acdc_flops, figures_by
from harness.results import LayerCost


def flops(*modules: nn.Module, picture: tuple[int, int, int] = (2, 6, 6)) -> int:
    """AC/DC's FLOPs of everything that is no weight: no layer's MACs are handed in."""
    return acdc_flops(nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), *modules), (), picture)


def layer(name: str, total: int, nnz: int, macs: int) -> LayerCost:
    return LayerCost(
        name=name,
        kind="conv",
        shape=(total,),
        total=total,
        nnz=nnz,
        macs_dense=macs,
        macs_effective=macs * nnz // total,
    )


@pytest.mark.parametrize(
    ("module", "count"),
    [
        (nn.Conv2d(2, 3, 3, bias=True), 3 * 4 * 4),
        (nn.Conv2d(2, 3, 3, bias=False), 0),
        (nn.BatchNorm2d(2), 2 * 72),
        (nn.ReLU(), 72),
        (nn.MaxPool2d(2), 4 * 18),
        (nn.AvgPool2d(3), 9 * 8),
        (nn.MaxPool2d((2, 3)), 6 * 12),
        (nn.AvgPool2d((1, 6)), 6 * 12),
        (nn.AdaptiveAvgPool2d(1), 72),
        (nn.Sigmoid(), 0),
    ],
)
def test_acdc_counts_each_kind_of_module(module: nn.Module, count: int) -> None:
    assert flops(module) == count


@pytest.mark.parametrize(("bias", "count"), [(True, 5), (False, 0)])
def test_acdc_counts_a_bias_per_output_of_a_classifier(bias: bool, count: int) -> None:
    assert flops(nn.Flatten(), nn.Linear(72, 5, bias=bias)) == count


def test_acdc_counts_two_per_multiplication_that_is_left() -> None:
    layers = (layer("a", 10, 5, 100), layer("b", 4, 1, 40))
    assert acdc_flops(nn.Conv2d(2, 2, 1, bias=False), layers, (2, 6, 6)) == 2 * (50 + 10)


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_no_trace(training: bool) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = acdc_flops(model, (), (2, 6, 6))
    assert acdc_flops(model, (), (2, 6, 6)) == first == 72 + 144
    assert model.training is training and not any(m._forward_hooks for m in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_every_convention_gives_its_own_figure() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=True), nn.Conv2d(2, 2, 1, 2, bias=False))
    # 4 weights at 36 and at 9 positions, of which 1 and 3 are left.
    layers = (layer("0", 4, 1, 144), layer("1", 4, 3, 36))
    counted = CountedNetwork(model, layers, (2, 6, 6), macs_left=2_500_000.0)
    assert figures_by("macs", counted) == {"flops_millions": 2.5}
    assert figures_by("2x-macs-bn-relu-pool", counted) == {
        "flops_millions": (2 * (36 + 27) + 72) / 1e6
    }
    # One term for a bias at every position: 36 + 36 and 27 of 144 + 36 and 36.
    assert figures_by("rd-macs-ratio", counted) == {
        "flops_remaining_pct": pytest.approx(100 * (36 + 36 + 27) / (144 + 36 + 36))
    }
    for name in ("ftwt-reported", "ip-kept-ratio", "macs-times-activations"):
        assert figures_by(name, counted) == {}
    with pytest.raises(KeyError):
        figures_by("flops", counted)
