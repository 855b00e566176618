"""Allocations side by side: hand-made counts, and the same numbers that `prune` leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from harness.errors import ProtocolError
from harness.profile.macs import DenseMacs
from harness.reports.plots.layer_shares import allocation_plot
from harness.training.allocation_preview import (
    BASELINES,
    AllocationComparison,
    RuleColumn,
    baselines,
    column_of,
    kept_counts,
    pruned,
    share_gone,
    side_by_side,
)
from methods.allocation import ALLOCATIONS
from methods.magnitude import Magnitude, MagnitudeSettings
from tests.support.results import a_cost, made

PNG = b"\x89PNG\r\n\x1a\n"


def network() -> nn.Sequential:
    """conv1 and fc with the shapes of the hand-made results; no two magnitudes are equal."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(3, 16, 3, bias=False))
    model.add_module("fc", nn.Linear(16, 10))
    return model


COMPARISON = AllocationComparison(
    network="tiny",
    target=0.5,
    layers=("conv", "idle", "fc"),
    sizes=(100, 10, 40),
    macs=(10_000, 0, 40),
    columns=(RuleColumn("RD", (33, 0, 40)), RuleColumn("uniform+", None, "too much to remove")),
)


def test_rates_and_costs_are_counted_per_layer() -> None:
    kept = (33, 0, 40)
    assert COMPARISON.rates_pct(kept) == [67.0, 100.0, 0.0]
    assert COMPARISON.sparsity_pct(kept) == pytest.approx(100 * 77 / 150, rel=1e-12)
    assert COMPARISON.macs_left(kept) == 3300 + 0 + 40


def test_baselines_keep_what_their_rules_say_at_exactly_one_sparsity() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    columns = baselines(model, 0.2)
    assert [column.label for column in columns] == list(BASELINES)
    for column in columns:
        assert sum(column.kept) == 592 - round(0.2 * 592)
    by_hand = torch.cat([model.conv1.weight.flatten(), model.fc.weight.flatten()]).abs()
    threshold = by_hand.sort(descending=True).values[592 - 118 - 1]
    whole = {column.label: column.kept for column in columns}
    assert whole["global"] == tuple(
        int((layer.weight.abs() >= threshold).sum()) for layer in (model.conv1, model.fc)
    )
    weights = {"conv1": model.conv1.weight, "fc": model.fc.weight}
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    assert whole["ERK"] == tuple(ALLOCATIONS["erk"](weights, masks, 118 / 592).values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_rule_that_cannot_do_it_says_why() -> None:
    columns = {column.label: column for column in baselines(network(), 0.9)}
    assert columns["uniform+"].kept is None  # conv1 is 73 % of the weights and stays dense
    assert "infeasible for uniform+" in columns["uniform+"].reason
    assert columns["LAMP"].kept is not None


def test_pruning_a_copy_leaves_the_network_alone() -> None:
    model = network().train()
    changed = pruned(Magnitude(MagnitudeSettings()), model, 0.5, None)
    assert kept_counts(model) == (432, 160)
    assert sum(kept_counts(changed)) == 296
    assert share_gone(model, kept_counts(changed)) == 0.5
    assert model.training and not changed.training


def test_a_finished_run_is_a_column_if_its_layers_fit() -> None:
    assert column_of(made(cost=a_cost()), network()) == RuleColumn("str-a-90", (108, 40))
    other = nn.Sequential()
    other.add_module("conv1", nn.Conv2d(3, 16, 3))
    with pytest.raises(ProtocolError, match="run str-a-90 pruned resnet20 on cifar10"):
        column_of(made(cost=a_cost()), other)


def test_assembly_names_layers_in_network_order() -> None:
    macs = DenseMacs({"conv1": 442_368}, 0, {})
    comparison = side_by_side("tiny", network(), macs, 0.5, [RuleColumn("RD", (1, 2))])
    assert comparison.layers == ("conv1", "fc")
    assert (comparison.sizes, comparison.macs) == ((432, 160), (442_368, 0))


def test_the_picture_is_the_same_file_for_the_same_comparison(tmp_path: Path) -> None:
    first = allocation_plot(COMPARISON, tmp_path / "new" / "a.png")
    second = allocation_plot(COMPARISON, tmp_path / "b.png")
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(PNG)
