"""Pruning by rank and by threshold inside a layer, against stored masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from methods.layerwise import above_spread, drop_smallest
from tests.methods.mnist_fixtures import case


@pytest.mark.parametrize("name", ["fc", "out"])
def test_rounds_of_layerwise_magnitude(name: str) -> None:
    found = case("layerwise_magnitude", name)
    mask = torch.ones(found["w"][0].shape, dtype=torch.bool)
    for number, rate in enumerate(found["rates"]):
        mask = drop_smallest(torch.from_numpy(found["w"][number]), mask, float(rate))
        assert np.array_equal(mask.numpy(), found[f"mask_{number}"].astype(bool))


@pytest.mark.parametrize("kind", ["all", "alive"])
@pytest.mark.parametrize("name", ["fc", "conv", "second_round"])
def test_thresholds_in_both_readings(name: str, kind: str) -> None:
    found = case("han_threshold", name)
    weight = torch.from_numpy(found["w"])
    alive = torch.from_numpy(found["alive"]).bool()
    mask = above_spread(weight, alive, float(found["q"]), survivors=kind == "alive")
    assert np.array_equal(mask.numpy(), found[f"mask_{kind}"].astype(bool))


def test_the_lower_of_two_equal_weights_goes_first() -> None:
    weight = torch.tensor([[0.5, -0.1, 0.1], [0.1, 0.1, 2.0]])
    mask = drop_smallest(weight, torch.ones(2, 3, dtype=torch.bool), 0.5)
    assert mask.tolist() == [[True, False, False], [False, True, True]]


@given(
    values=st.lists(st.integers(-4, 4), min_size=1, max_size=40),
    dead=st.sets(st.integers(0, 39)),
    rate=st.floats(0, 1),
)
def test_dropping_equals_a_plain_sort(values: list[int], dead: set[int], rate: float) -> None:
    weight = torch.tensor(values, dtype=torch.float32)
    mask = torch.tensor([i not in dead for i in range(len(values))])
    alive = [i for i in range(len(values)) if i not in dead]
    gone = sorted(alive, key=lambda i: (abs(values[i]), i))[: round(rate * len(alive))]
    want = [i in alive and i not in gone for i in range(len(values))]
    assert drop_smallest(weight, mask, rate).tolist() == want


def test_a_rate_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="1.5 is not a share"):
        drop_smallest(torch.ones(3), torch.ones(3, dtype=torch.bool), 1.5)
