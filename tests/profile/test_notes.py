"""Sentences about a cost: one for each thing its numbers hide, none for an ordinary network."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from harness.profile import measure_cost, notes_of


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 4, 5))


def notes(model: nn.Module, **settings: object) -> tuple[str, ...]:
    return notes_of(measure_cost(model, (3, 2, 2), settings=settings))


def test_an_ordinary_network_needs_none() -> None:
    assert notes(network()) == ()


@torch.no_grad()
def test_zeros_that_are_none_are_told_from_those_that_are() -> None:
    model = network()
    model[3].weight.zero_()
    model[3].weight[0] = 1.0
    model[3].weight[1] = 1e-9
    assert notes(model) == (
        "3 filters without any weight in 3",
        # 64 of 92 are below 1e-6, 48 of them are zero
        "16 weights are not zero but below 1e-6: 69.57 % look like zeros, 52.17 % are",
    )


@torch.no_grad()
def test_a_layer_without_weights_is_named() -> None:
    model = network()
    model[0].weight.zero_()
    assert notes(model)[0] == "no weight left in 0"


def test_weights_that_the_settings_exclude_are_named() -> None:
    assert notes(network(), exclude=["0"]) == ("left alone by the settings: 0",)


def test_weights_are_judged_as_used_and_told_as_stored() -> None:
    class Centred(nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight - weight.mean() - 1

    model = network()
    with torch.no_grad():
        model[3].weight.view(-1)[:40] = 0
    parametrize.register_parametrization(model[3], "weight", Centred())
    assert notes(model) == (
        "1 weights are changed before they are used: 0.00 % zeros in use, 50.00 % as stored",
    )


def test_parameters_that_no_count_covers_have_their_share() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.table = nn.Parameter(torch.zeros(3, 2, 2))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images + self.table)

    # 12 + 4 + 8 + 80 + 5 of the network, 12 of the table
    assert notes(Positions()) == (
        "9.92 % of the parameters are no weights (table): no zeros, no MACs",
    )
