"""The joint solver: never above its starts, near the best there is, exact, resumable."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from methods.allocation import exact
from methods.allocation import lamp as lamp_counts
from methods.inventory import prunable_weights
from methods.masks import keep_largest
from methods.rate_distortion import RateDistortion, RateDistortionSettings, joint_search
from methods.rate_distortion.joint_distortion import JointDistortion, refitted
from methods.rate_distortion.joint_pruning import JointSearch, raised
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


def _problem(
    model: nn.Module, images: Tensor, reduction: str = "mean", **options: object
) -> JointDistortion:
    layers = prunable_weights(model)
    masks = {n: torch.ones_like(layer.stored, dtype=torch.bool) for n, layer in layers.items()}
    return JointDistortion(model, images, layers, masks, reduction, **options)


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


class Normed(nn.Module):
    """Two layers with a batch norm after the first, whose statistics fit nothing."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm, self.last = nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.1, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(x))))


@torch.no_grad()
def _normed_by_hand(
    model: Normed, batches: list[Tensor], kept: tuple[int, int], reduction: str
) -> float:
    def logits(first: Tensor, last: Tensor, x: Tensor) -> Tensor:
        hidden = x @ first.T + model.first.bias
        hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + 1e-5).sqrt()
        return torch.tanh(hidden * model.norm.weight + model.norm.bias) @ last.T + model.last.bias

    whole = [model.first.weight, model.last.weight]
    pruned = [w * keep_largest(w.abs(), k) for w, k in zip(whole, kept, strict=True)]
    errors = torch.cat([(logits(*pruned, x) - logits(*whole, x)).square().mean(1) for x in batches])
    return float(errors.mean() if reduction == "mean" else errors.max())


@pytest.mark.parametrize("reduction", ["mean", "worst"])
def test_refitted_norms_have_the_statistics_of_the_batch_in_both_networks(reduction):
    """Nine images in batches of four are three threes: one alone has no statistics."""
    model, images = Normed().double(), _pictures(9).double()
    problem = _problem(model, images, reduction, batch_size=4, norms="refitted")
    for kept in ((12, 18), (7, 9), (3, 15), (1, 1)):
        by_hand = _normed_by_hand(model, list(images.split(3)), kept, reduction)
        assert problem.measure(kept) == pytest.approx(by_hand, rel=1e-9, abs=1e-12)


def test_prices_with_refitted_norms_are_slopes_through_the_statistics():
    model, images, kept = Normed(2).double(), _pictures(8).double(), (7, 10)
    worth = _problem(model, images, norms="refitted").worth(kept)
    whole = {n: model.get_parameter(n).detach() for n in ("first.weight", "last.weight")}
    pruned = {
        n: w * keep_largest(w.abs(), k) for (n, w), k in zip(whole.items(), kept, strict=True)
    }

    def distortion(weights: dict[str, Tensor]) -> float:
        with refitted(model):
            return float((functional_call(model, weights, images) - model(images)).square().mean())

    for layer, (name, weight) in enumerate(whole.items()):
        order = weight.abs().reshape(-1).argsort(descending=True)
        for rank, position in enumerate(order):
            step = torch.zeros_like(weight)
            step.view(-1)[position] = 1e-6 * weight.view(-1)[position]
            ends = [distortion({**pruned, name: pruned[name] + sign * step}) for sign in (1, -1)]
            fall = (ends[1] - ends[0]) / 2e-6
            assert worth.between(layer, rank, rank + 1) == pytest.approx(fall, rel=1e-4, abs=1e-8)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 99), st.floats(0.1, 10), st.floats(-3, 3))
def test_with_refitted_norms_no_scale_or_stored_statistic_counts(seed, scale, shift):
    """What a batch norm takes out again is no distortion: the first layer's scale, its bias."""
    model, images = Normed(seed).double(), _pictures(10).double()
    before = _problem(model, images, norms="refitted").measure((5, 9))
    with torch.no_grad():
        model.first.weight *= scale
        model.first.bias += shift
        model.norm.running_mean += shift
        model.norm.running_var *= scale
        model.norm.eps *= scale**2
    assert _problem(model, images, norms="refitted").measure((5, 9)) == pytest.approx(
        before, rel=1e-6
    )


def test_refitting_leaves_statistics_and_modes_as_they_were():
    model = nn.Sequential(Normed().train(), nn.BatchNorm1d(3).eval())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layers = prunable_weights(model)
    JointSearch(model, _pictures(70), layers, _all(model), "mean", norms="refitted").solve(12)
    assert modes == [module.training for module in model.modules()]
    assert all(norm.track_running_stats for norm in norms)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_the_joint_solver_is_told_is_part_of_the_question_to_the_store():
    shelf, images = Shelf(), _tiny()
    for told in ({}, {"norms": "refitted"}, {"lamp_floor": 0.5}, {"lamp_floor": 0.6}, {}):
        method = RateDistortion(RateDistortionSettings(solver="joint", reduction="mean", **told))
        method.store = shelf
        method.prune(Tiny("tiny_a"), 0.8, images)
    assert sum(note.startswith("joint solver: from ") for note in shelf.notes) == 4


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
    least = tuple(data.draw(st.integers(1, n)) for n in live)
    price = st.integers(-9, 9).map(float)
    worth = Prices([data.draw(st.lists(price, min_size=n, max_size=n)) for n in live])
    step = data.draw(st.floats(0.01, 1))
    moved = exchanged(worth, kept, least, tuple(live), step)
    assert sum(moved) == sum(kept)
    gain = 0.0
    for layer, (before, after, floor, n) in enumerate(zip(kept, moved, least, live, strict=True)):
        assert min(before, floor) <= after <= n
        assert abs(after - before) <= max(1, step * before, step * n * 0.02)
        size = max(1, int(step * max(before, 0.02 * n)))
        if after > before:
            size = min(size, n - before)
            gain += (after - before) * worth.between(layer, before, before + size) / size
        elif after < before:
            size = min(size, before - floor)
            gain -= (before - after) * worth.between(layer, before - size, before) / size
    assert gain > 0 or moved == kept


def test_the_cheapest_weights_go_to_the_dearest_layer_and_no_layer_takes_more_than_its_step():
    worth = Prices([[1.0] * 8, [0.0] * 8, [0.5] * 8, [2.0] * 8])
    least, live = (1, 1, 1, 1), (8, 8, 8, 8)
    assert exchanged(worth, (4, 4, 4, 1), least, live, 0.5) == (6, 2, 3, 2)
    assert exchanged(worth, (4, 4, 4, 8), least, live, 0.5) == (6, 2, 4, 8)
    assert exchanged(worth, (4, 4, 4, 8), (1, 3, 4, 1), live, 0.5) == (5, 3, 4, 8)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_start_below_the_floor_goes_towards_lamp_no_further_than_it_must(data):
    lamp = tuple(data.draw(st.lists(st.integers(0, 50), min_size=1, max_size=6)))
    least = tuple(data.draw(st.integers(0, n)) for n in lamp)
    order = data.draw(st.permutations([i for i, n in enumerate(lamp) for _ in range(n)]))
    cuts = sorted(data.draw(st.integers(0, sum(lamp))) for _ in lamp[1:])
    ends = zip([0, *cuts], [*cuts, sum(lamp)], strict=True)
    kept = tuple(len(order[a:b]) for a, b in ends)
    found = raised(kept, lamp, least)
    assert sum(found) == sum(lamp)
    assert all(n >= floor for n, floor in zip(found, least, strict=True))
    if all(n >= floor for n, floor in zip(kept, least, strict=True)):
        assert found == kept
    else:  # some layer is at its floor, and none has left the way between the two
        assert any(n - floor <= len(lamp) for n, floor in zip(found, least, strict=True))
        assert all(min(a, b) <= n <= max(a, b) for a, b, n in zip(kept, lamp, found, strict=True))


@pytest.mark.parametrize("target", [0.3, 0.6, 0.85])
@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_no_layer_gets_below_its_share_of_what_lamp_keeps(share, target):
    model, images = Tiny("tiny_a"), _tiny()
    layers = prunable_weights(model)
    weights = {name: layer.stored.detach() for name, layer in layers.items()}
    total = sum(w.numel() for w in layers.values())
    left = total - round(target * total)
    live = {name: layer.numel() for name, layer in layers.items()}
    lamp = exact(lamp_counts(weights, _all(model), target), live, left)
    search = JointSearch(model, images, layers, _all(model), "worst", lamp_floor=share)
    kept = search.solve(left)
    assert sum(kept.values()) == left
    assert all(kept[name] >= int(share * lamp[name]) for name in kept)
    assert search.solution.distortion <= search.solution.starts["lamp"]
    if share == 1.0:
        assert kept == lamp


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
    with pytest.raises(ValueError, match="only the joint solver knows norms; add"):
        RateDistortionSettings(norms="refitted")
    with pytest.raises(ValueError, match="only the joint solver knows lamp_floor; add"):
        RateDistortionSettings(lamp_floor=0.5, solver="official")
    refitting = RateDistortion(RateDistortionSettings(solver="joint", norms="refitted"))
    with pytest.raises(ValueError, match="give at least two images"):
        refitting.prune(Normed(), 0.5, _pictures(1))
    with pytest.raises(ValueError, match="no calibration images"):
        refitting.prune(Normed(), 0.5, _pictures(0))
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
