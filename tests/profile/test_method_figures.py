"""A method's own figures: summed exactly, judged as means, never mixed with zeros."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness import registry
from harness.profile.cost import measure_cost
from harness.profile.macs import dense_macs
from harness.profile.method_figures import spread_of
from harness.profile.zeros import sparsity
from harness.registry.entries import Published
from harness.results.judged_metrics import Measured, judge
from harness.results.schema import Cost, Figures
from methods.attached_modules import AttachedModule, switched_off
from tests.support.results import a_cost, counts

BIG = 2**40  # sums of these would lose digits in float32


class Doubling(nn.Linear, AttachedModule):
    """An addition that doubles the input of the convolution, while it is on."""

    on = True

    @property
    def enabled(self) -> bool:
        return self.on

    def set_enabled(self, enabled: bool) -> None:
        self.on = enabled

    def double(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> object:
        return tuple(2 * x for x in inputs) if self.on else None


def network() -> nn.Sequential:
    """1x1 convolution of 2 to 3 channels with an addition of 4x4 weights, all of them zero."""
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False))
    addition = Doubling(4, 4, bias=False)
    nn.init.zeros_(addition.weight)
    model[0].register_forward_pre_hook(addition.double)
    model[0].added = addition
    return model.eval()


@given(st.lists(st.integers(BIG, 2 * BIG), min_size=1, max_size=30))
def test_a_spread_is_exact_and_counts_every_value(values: list[int]) -> None:
    spread = spread_of(torch.tensor(values))
    assert spread.mean == sum(values) / len(values)
    assert (spread.minimum, spread.maximum) == (min(values), max(values))
    assert sum(spread.bin_counts) == len(values)
    assert len(spread.bin_edges) == len(spread.bin_counts) + 1
    assert spread.std == pytest.approx(np.std(np.array(values, dtype=np.float64)), rel=1e-9)


def test_additions_are_parameters_but_neither_weights_nor_layers() -> None:
    model = network()
    profile = sparsity(model)
    assert (profile.params, profile.counts()) == (6 + 16, (6, 6))
    assert dense_macs(model, (2, 5, 5)).per_layer == {"0": 6 * 25}


def test_additions_are_off_inside_and_as_before_afterwards() -> None:
    model, image = network(), torch.ones(1, 2, 1, 1)
    doubled = model(image)
    for before in (True, False):
        model[0].added.set_enabled(before)
        with switched_off(model):
            assert torch.equal(2 * model(image), doubled)
        assert model[0].added.enabled is before


def test_a_methods_effective_macs_replace_those_of_the_zeros() -> None:
    model = network()
    plain = measure_cost(model, (2, 5, 5))
    figures = Figures(values={"effective_macs": 41.5, "kept_pct": 12.0})
    cost = measure_cost(model, (2, 5, 5), measured=figures)
    assert (plain.macs_effective, cost.macs_effective, cost.macs_dense) == (150, 42, 150)
    assert cost.extra == {"flops_millions": 41.5e-6, "effective_macs": 41.5, "kept_pct": 12.0}


def measured(cost: Cost, smoke: str = "", **seeds: list[float]) -> Measured:
    return Measured(counts(9_000), cost, 10_000, per_seed_pct=seeds or None, smoke=smoke)


def judged(name: str, text: str, found: Measured, granularity: str = "dynamic"):
    entry = registry.get("ftwt-vgg16-bn-cifar10-0.85-decoupled")
    published = {name: Published(text=text, source="table")}
    return judge(replace(entry, published=published, granularity=granularity), found)


def with_extra(**extra: float) -> Cost:
    return replace(a_cost(), extra=extra)


def test_a_figure_of_several_seeds_is_judged_by_its_mean() -> None:
    cost = with_extra(flops_reduction_pct=70.0)
    found = measured(cost, top1_pct=[90.0, 92.0, 91.0], flops_reduction_pct=[70.0, 74.0, 75.0])
    metrics = judged("flops_reduction_pct", "73", found)
    assert metrics["flops_reduction_pct"].measured == 73.0
    assert metrics["flops_reduction_pct"].status == "consistent"
    assert metrics["top1_pct"].measured == 91.0


def test_a_figure_of_a_smoke_run_is_no_judgement() -> None:
    found = measured(with_extra(kept_pct=3.0), smoke="2 epochs", kept_pct=[3.0])
    assert judged("kept_pct", "50", found)["kept_pct"].status == "smoke"


def test_a_methods_count_of_parameters_comes_before_the_zeros() -> None:
    found = measured(with_extra(params_millions=1.25))
    assert judged("params_millions", "1.25", found)["params_millions"].status == "exact"


def test_a_dynamic_row_tells_of_no_zeros_and_a_static_one_does() -> None:
    found = measured(a_cost())
    assert "sparsity_pct" not in judged("loss", "1.0", found)
    assert "sparsity_pct" in judged("loss", "1.0", found, granularity="unstructured")
