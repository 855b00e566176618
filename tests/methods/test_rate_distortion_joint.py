"""The joint solver: never above its starts, near the best there is, exact, resumable."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from methods.inventory import prunable_weights
from methods.masks import keep_largest
from methods.rate_distortion import RateDistortion, RateDistortionSettings, joint_search
from methods.rate_distortion.joint_distortion import JointDistortion
from methods.rate_distortion.joint_pruning import JointSearch
from methods.rate_distortion.joint_search import exchanged, solve_joint
from tests.methods.rd_fixtures import Tiny, arrays
from tests.methods.test_rate_distortion_store import Shelf


class Small(nn.Module):
    """Three layers of few weights, so that every allocation can be tried."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shapes = ((8, 2), (6, 8), (3, 6))
        self.layers = nn.ModuleList(nn.Linear(b, a, bias=False) for a, b in shapes)
        for layer in self.layers:
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(torch.tanh(second(torch.tanh(first(x)))))


def _pictures(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))


def _tiny() -> Tensor:
    return torch.tensor(arrays("tiny_a")["calib_x"])


def _by_hand(model: nn.Module, images: Tensor, kept: tuple[int, ...], reduction: str) -> float:
    """The definition: set the weights, run, compare, put them back."""
    weights = [layer.parameter for layer in prunable_weights(model).values()]
    before = [weight.detach().clone() for weight in weights]
    with torch.no_grad():
        dense = model(images)
        for weight, count in zip(weights, kept, strict=True):
            weight.mul_(keep_largest(weight.abs(), count))
        errors = (model(images) - dense).double().square().mean(1)
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)
    return float(errors.mean() if reduction == "mean" else errors.max())


def _problem(model: nn.Module, images: Tensor, reduction: str = "mean") -> JointDistortion:
    layers = prunable_weights(model)
    masks = {n: torch.ones_like(layer.stored, dtype=torch.bool) for n, layer in layers.items()}
    return JointDistortion(model, images, layers, masks, reduction)


@pytest.mark.parametrize("reduction", ["mean", "worst"])
def test_the_joint_distortion_is_that_of_the_pruned_network(reduction):
    model, images = Tiny("tiny_a"), _tiny()
    problem = _problem(model, images, reduction)
    for kept in ((50, 60, 70, 80, 30), (216, 162, 324, 567, 90), (1, 1, 1, 1, 1)):
        kept = tuple(map(min, kept, problem.live))
        assert problem.measure(kept) == pytest.approx(
            _by_hand(model, images, kept, reduction), rel=1e-6
        )


def test_prices_are_slopes_of_the_measured_distortion():
    """One weight at a time, shrunk by a thousandth: its worth by hand."""
    model, images = Small().double(), _pictures(8).double()
    kept, step = (9, 20, 7), 1e-6
    worth = _problem(model, images).worth(kept)
    pruned = [layer.weight.detach() for layer in model.layers]
    whole = [weight.clone() for weight in pruned]
    dense = model(images).detach()
    for weight, count in zip(pruned, kept, strict=True):
        weight.mul_(keep_largest(weight.abs(), count))
    for layer, weight in enumerate(pruned):
        order = whole[layer].abs().reshape(-1).argsort(descending=True)
        for rank, position in enumerate(order):
            at, original = weight.view(-1), whole[layer].view(-1)[position]
            now = at[position].clone()
            values = []
            for sign in (1, -1):
                at[position] = now + sign * step * original
                with torch.no_grad():
                    values.append(float((model(images) - dense).square().mean()))
            at[position] = now
            slope = (values[1] - values[0]) / (2 * step)
            assert worth.between(layer, rank, rank + 1) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("reduction", ["mean", "worst"])
def test_few_of_all_allocations_of_a_small_network_are_better_than_what_is_found(seed, reduction):
    model, images, left = Small(seed), _pictures(16), 41  # of 82
    problem = _problem(model, images, reduction)
    every = [
        kept for kept in product(*(range(1, n + 1) for n in problem.live)) if sum(kept) == left
    ]
    values = sorted(_by_hand(model, images, kept, reduction) for kept in every)
    kept = JointSearch(model, images, prunable_weights(model), _all(model), reduction).solve(left)
    rank = sum(value < problem.measure(tuple(kept.values())) * (1 - 1e-6) for value in values)
    assert rank <= len(every) // 8, f"{rank} of {len(every)} allocations are better"


@pytest.mark.parametrize("reduction", ["mean", "worst"])
def test_no_exchange_of_one_weight_between_two_of_three_layers_is_left(reduction):
    model, images = Small(5), _pictures(16)
    search = JointSearch(model, images, prunable_weights(model), _all(model), reduction)
    kept = tuple(search.solve(30).values())
    found = _by_hand(model, images, kept, reduction)
    for taker, giver in permutations(range(3), 2):
        moved = list(kept)
        moved[taker] += 1
        moved[giver] -= 1
        if moved[giver] and moved[taker] <= model.layers[taker].weight.numel():
            assert _by_hand(model, images, tuple(moved), reduction) >= found * (1 - 1e-6)


def _all(model: nn.Module) -> dict[str, Tensor]:
    return {
        n: torch.ones_like(w.stored, dtype=torch.bool) for n, w in prunable_weights(model).items()
    }


@pytest.mark.parametrize("reduction", ["mean", "worst"])
@pytest.mark.parametrize("target", [0.3, 0.6, 0.85])
def test_no_start_is_better_and_the_count_is_exact(target, reduction):
    model, images = Tiny("tiny_a"), _tiny()
    total = sum(w.numel() for w in prunable_weights(model).values())
    search = JointSearch(model, images, prunable_weights(model), _all(model), reduction)
    kept = search.solve(total - round(target * total))
    assert sum(kept.values()) == total - round(target * total)
    assert search.solution.distortion == min(
        search.solution.distortion, *search.solution.starts.values()
    )
    assert set(search.solution.starts) <= {"uniform", "uniform_plus", "erk", "global", "lamp"}
    by_hand = _by_hand(model, images, tuple(kept.values()), reduction)
    assert search.solution.distortion == pytest.approx(by_hand, rel=1e-6)


def test_pruning_leaves_the_largest_weights_of_every_layer():
    model, dense = Tiny("tiny_a"), Tiny("tiny_a")
    method = RateDistortion(RateDistortionSettings(solver="joint"))
    method.prune(model, 0.8, _tiny())
    pairs = zip(prunable_weights(model).values(), prunable_weights(dense).values(), strict=True)
    for (pruned, whole), kept in zip(pairs, method.allocation.kept, strict=True):
        expected = whole.stored * keep_largest(whole.stored.abs(), kept)
        assert torch.equal(pruned.stored, expected)


class Prices:
    """Random prices of single weights."""

    def __init__(self, table: list[list[float]]) -> None:
        self.table = table

    def between(self, layer: int, first: int, last: int) -> float:
        return sum(self.table[layer][first:last])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_exchanges_keep_the_sum_the_bounds_and_only_pay(data):
    live = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    kept = tuple(data.draw(st.integers(0, n)) for n in live)
    price = st.integers(-9, 9).map(float)
    worth = Prices([data.draw(st.lists(price, min_size=n, max_size=n)) for n in live])
    step = data.draw(st.floats(0.01, 1))
    moved = exchanged(worth, kept, tuple(live), step)
    assert sum(moved) == sum(kept)
    gain = 0.0
    for layer, (before, after, n) in enumerate(zip(kept, moved, live, strict=True)):
        assert min(before, 1) <= after <= n
        assert abs(after - before) <= max(1, step * before, step * n * 0.02)
        size = max(1, int(step * max(before, 0.02 * n)))
        if after > before:
            size = min(size, n - before)
            gain += (after - before) * worth.between(layer, before, before + size) / size
        elif after < before:
            size = min(size, before - 1)
            gain -= (before - after) * worth.between(layer, before - size, before) / size
    assert gain > 0 or moved == kept


def test_the_cheapest_weights_go_to_the_dearest_layer_and_no_layer_takes_more_than_its_step():
    worth = Prices([[1.0] * 8, [0.0] * 8, [0.5] * 8, [2.0] * 8])
    assert exchanged(worth, (4, 4, 4, 1), (8, 8, 8, 8), 0.5) == (6, 2, 3, 2)
    assert exchanged(worth, (4, 4, 4, 8), (8, 8, 8, 8), 0.5) == (6, 2, 4, 8)


def test_rounds_never_revive_a_weight_and_repeat_to_the_bit():
    images, results = _tiny(), []
    for _ in range(2):
        model = Tiny("tiny_a")
        total = sum(w.numel() for w in prunable_weights(model).values())
        method = RateDistortion(RateDistortionSettings(solver="joint"))
        before = _all(model)
        for target in (0.4, 0.7):
            method.prune(model, target, images)
            assert sum(method.allocation.kept) == total - round(target * total)
            assert all(bool((before[n] | ~mask).all()) for n, mask in method.masks.items())
            before = {n: mask.clone() for n, mask in method.masks.items()}
        results.append(before)
    assert all(torch.equal(mask, results[1][n]) for n, mask in results[0].items())


def _stored(shelf: Shelf, model: nn.Module | None = None) -> RateDistortion:
    method = RateDistortion(RateDistortionSettings(solver="joint", reduction="mean"))
    method.store = shelf
    images = _tiny().repeat(5, 1, 1, 1) + torch.linspace(0, 1, 80).view(-1, 1, 1, 1)
    method.prune(Tiny("tiny_a") if model is None else model, 0.8, images)
    return method


def test_a_killed_search_goes_on_where_it_was_and_an_answer_is_not_sought_again(monkeypatch):
    monkeypatch.setattr(joint_search, "MOST_STEPS", 4)
    whole, killed = Shelf(), Shelf()
    expected = _stored(whole).allocation.kept
    killed.stop_after = 6
    untouched = Tiny("tiny_a")
    with pytest.raises(KeyboardInterrupt):
        _stored(killed, untouched)
    assert all(bool(w.stored.all()) for w in prunable_weights(untouched).values())
    killed.stop_after = None
    assert _stored(killed).allocation.kept == expected
    assert len(killed.saved) == len(whole.saved)  # no step was taken twice
    assert [note for note in whole.notes if note.startswith("joint solver: from ")]
    ticks = len(whole.ticks)
    assert _stored(whole).allocation.kept == expected
    assert len(whole.ticks) == ticks


def test_what_the_joint_solver_cannot_do_is_refused():
    with pytest.raises(ValueError, match="joint solver knows no MACs budget"):
        RateDistortionSettings(solver="joint", budget="macs")
    with pytest.raises(ValueError, match="leave out calib_augment and exact_count"):
        RateDistortionSettings(solver="joint", calib_augment=True)
    with pytest.raises(ValueError, match="leave out calib_augment and exact_count"):
        RateDistortionSettings(solver="joint", exact_count=False)
    model = Small()
    with pytest.raises(ValueError, match="not finite"):
        RateDistortion(RateDistortionSettings(solver="joint")).prune(
            model, 0.5, torch.full((2, 2), float("nan"))
        )


def test_no_finite_start_is_said():
    class Broken:
        live = (2, 2)

        def measure(self, kept):
            return float("inf")

    with pytest.raises(ValueError, match="every start of the joint solver"):
        solve_joint(Broken(), {"lamp": (1, 1)})


def test_parts_of_a_fused_projection_share_one_parameter():
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.attention(x, x, x, need_weights=False)[0].mean(1))

    model, images = Attending(), torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0))
    method = RateDistortion(RateDistortionSettings(solver="joint", exclude=("*.in_proj.v", "fc")))
    whole = [w.stored.detach().clone() for w in prunable_weights(model).values()]
    method.prune(model, 0.5, images)
    assert sum(method.allocation.kept) == 96  # half of q, k and the output projection
    assert torch.equal(model.attention.in_proj_weight[16:], whole[0][16:])
    assert int(model.attention.in_proj_weight[:16].count_nonzero()) == sum(
        method.allocation.kept[:2]
    )
