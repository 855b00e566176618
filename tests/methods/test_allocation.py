"""Layer-wise counts against the official ones, and exact repair of totals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import allocation
from methods.masks import keep_largest

FIXTURES = Path(__file__).parents[1] / "fixtures" / "rd_prune"
PROFILE = settings(deadline=None, max_examples=50, derandomize=True)
RULES = {
    "unif": allocation.uniform,
    "unifplus": allocation.uniform_plus,
    "erk": allocation.erk,
    "glob": allocation.global_magnitude,
    "lamp": allocation.lamp,
}
RTOL_FLOAT32_SCORES = 1e-4  # the stored LAMP scores come from float32 differences of sums
ATOL_AMOUNT = 1e-5  # stored in float32
ONE_WEIGHT = 1  # float32 amounts times millions of weights move the official counts by one


def _read(name):
    return json.loads((FIXTURES / name).read_text())


def _tiny(name):
    arrays = np.load(FIXTURES / f"{name}.npz")
    layers = _read(f"{name}.json")["layer_names"]
    return {layer: torch.from_numpy(arrays[f"w/{layer}.weight"]) for layer in layers}


def _formula_weights():
    weights = {}
    for position, row in enumerate(_read("layer_tables.json")["resnet32_cifar"]["layers"]):
        name, shape = row[0], row[1]
        index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
        hashed = index * np.uint64(2654435761) + np.uint64(12345 * (position + 1))
        unit = (hashed % np.uint64(2**32)).astype(np.float64) / 2**32
        values = (2 * unit - 1) * np.sqrt(2 / np.prod(shape[1:]))
        weights[name] = torch.from_numpy(values.astype(np.float32).reshape(shape))
    return weights


NETS = {"tiny_a": _tiny("tiny_a"), "tiny_c": _tiny("tiny_c"), "formula": _formula_weights()}
REFERENCE = {
    "tiny_a": _read("tiny_a.json")["baselines"],
    "tiny_c": _read("tiny_c.json")["baselines"],
    "formula": _read("formula_resnet32_cifar.json"),
}


def _assert_amounts(kept, alive, stored):
    """The stored shares remove exactly what `kept` lacks; uniform+ stores them unrounded."""
    for left, before, amount in zip(kept, alive, stored or [], strict=stored is not None):
        assert left == before - round(amount * before)
        assert abs(1 - left / before - amount) <= max(ATOL_AMOUNT, 0.5 / before)


def _all_true(weights):
    return {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}


ONE_SHOT = [
    (net, rule, amount)
    for net, reference in REFERENCE.items()
    for rule, levels in reference["one_shot"].items()
    for amount in levels
]


@pytest.mark.parametrize(("net", "rule", "amount"), ONE_SHOT)
def test_one_shot_survivors_equal_the_official_ones(net, rule, amount):
    weights, expected = NETS[net], REFERENCE[net]["one_shot"][rule][amount]
    if "error" in expected:
        with pytest.raises(ValueError, match=r"infeasible for uniform\+"):
            RULES[rule](weights, _all_true(weights), float(amount))
    else:
        kept = RULES[rule](weights, _all_true(weights), float(amount))
        assert list(kept.values()) == expected["survivors"]
        sizes = [weight.numel() for weight in weights.values()]
        _assert_amounts(kept.values(), sizes, expected["amounts"])
        assert 1 - sum(kept.values()) / sum(sizes) == pytest.approx(expected["sparsity"], abs=1e-6)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("rule", RULES)
def test_iterative_survivors_equal_the_official_ones(net, rule):
    weights = NETS[net]
    masks = _all_true(weights)
    trace = REFERENCE[net]["iterative"][rule]
    for expected in trace if isinstance(trace, list) else trace["trace"]:
        if "error" in expected:
            with pytest.raises(ValueError, match="infeasible"):
                RULES[rule](weights, masks, 0.2)
            return
        kept = RULES[rule](weights, masks, 0.2)
        assert list(kept.values()) == expected["survivors"]
        alive = allocation.survivors(masks).values()
        _assert_amounts(kept.values(), alive, expected["amounts"])
        masks = {
            name: keep_largest(allocation.magnitude(weights[name], masks[name]), kept[name])
            for name in masks
        }


@pytest.mark.parametrize("model", ["resnet32_cifar", "densenet121_k12_cifar", "resnet50_imagenet"])
@pytest.mark.parametrize("rule", ["erk", "unifplus"])
def test_shapes_alone_give_the_official_survivors(model, rule):
    layers = _read("layer_tables.json")[model]["layers"]
    weights = {row[0]: torch.zeros(1).expand(row[1]) for row in layers}
    masks = {name: torch.ones(1, dtype=torch.bool).expand(w.shape) for name, w in weights.items()}
    for amount, expected in _read(f"shapes_{model}.json")["one_shot"][rule].items():
        kept = list(RULES[rule](weights, masks, float(amount)).values())
        difference = np.abs(np.subtract(kept, expected["survivors"]))
        assert difference.max() <= ONE_WEIGHT
        sizes = [weight.numel() for weight in weights.values()]
        whole = [i for i, size in enumerate(sizes) if kept[i] == size]
        assert whole == expected["dense_layers"]
        assert 1 - sum(kept) / sum(sizes) == pytest.approx(expected["sparsity"], abs=1e-4)


@pytest.mark.parametrize("rule", ["erk", "unifplus"])
def test_rounds_on_shapes_alone_give_the_official_survivors(rule):
    layers = _read("layer_tables.json")["resnet32_cifar"]["layers"]
    weights = {row[0]: torch.zeros(row[1]) for row in layers}
    masks = _all_true(weights)
    for expected in _read("shapes_resnet32_cifar.json")["iterative"][rule]:
        kept = RULES[rule](weights, masks, 0.2)
        difference = np.abs(np.subtract(list(kept.values()), expected["survivors"]))
        assert difference.max() <= ONE_WEIGHT
        masks = {name: keep_largest(masks[name].float(), kept[name]) for name in masks}


def test_the_formula_net_is_the_stored_one():
    stored, weights = REFERENCE["formula"], list(NETS["formula"].values())
    for weight, first in zip(weights, stored["check_first_values"], strict=False):
        assert weight.flatten()[:4].tolist() == first
    sums = [float(weight.double().square().sum()) for weight in weights]
    assert sums == pytest.approx(stored["check_sumsq"], rel=1e-12)


def test_lamp_scores_of_the_formula_net_equal_the_official_ones():
    stored, weights = REFERENCE["formula"], NETS["formula"]
    masks = _all_true(weights)
    scores = [allocation.lamp_scores(weights[name], masks[name]) for name in weights]
    first = scores[-1].flatten()[:8].tolist()
    assert first == pytest.approx(stored["lamp_score_last_layer_first8"], rel=RTOL_FLOAT32_SCORES)
    largest = [float(score.max()) for score in scores]
    assert largest == [1.0] * len(scores)  # exact; the official ones cancel in float32
    assert largest == pytest.approx(stored["lamp_score_max_per_layer"], abs=1e-3)


@pytest.mark.parametrize("net", ["tiny_a", "tiny_c"])
def test_lamp_scores_equal_the_official_ones(net):
    arrays = np.load(FIXTURES / f"{net}.npz")
    for name, weight in NETS[net].items():
        scores = allocation.lamp_scores(weight, torch.ones_like(weight, dtype=torch.bool))
        expected = arrays[f"lamp_score/{name}"]
        np.testing.assert_allclose(scores.numpy(), expected, rtol=RTOL_FLOAT32_SCORES)


def test_largest_weight_of_a_layer_scores_exactly_one():
    weight = torch.randn(300, 300, generator=torch.Generator().manual_seed(0))
    scores = allocation.lamp_scores(weight, torch.ones_like(weight, dtype=torch.bool))
    assert scores.max() == 1.0
    assert scores.argmax() == weight.abs().argmax()


def test_lamp_scores_have_float64_precision():
    weight = torch.randn(50, 50, generator=torch.Generator().manual_seed(0))
    scores = allocation.lamp_scores(weight, torch.ones_like(weight, dtype=torch.bool))
    squares = weight.double().square()
    for index in [(0, 0), (7, 31), (49, 49)]:
        denominator = squares[squares >= squares[index]].sum()
        assert scores[index] == pytest.approx(float(squares[index] / denominator), rel=1e-12)


def test_lamp_scores_of_masked_and_zero_weights_are_zero():
    weight = torch.tensor([[3.0, 0.0, 4.0]])
    scores = allocation.lamp_scores(weight, torch.tensor([[True, True, False]]))
    assert scores.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("net", ["tiny_a", "tiny_c"])
@pytest.mark.parametrize("rule", ["lamp", "glob"])
def test_counts_with_magnitude_inside_layers_give_the_official_masks(net, rule):
    weights = NETS[net]
    arrays = np.load(FIXTURES / f"{net}.npz")
    kept = RULES[rule](weights, _all_true(weights), 0.8)
    for name, weight in weights.items():
        mask = keep_largest(weight.abs(), kept[name]).numpy()
        np.testing.assert_array_equal(mask, arrays[f"mask_{rule}_0.8/{name}"].astype(bool))


layer_shapes = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 12), st.floats(0, 1)), min_size=1, max_size=6
)


@PROFILE
@given(layer_shapes, st.floats(0, 1))
def test_erk_stays_within_the_layers_and_near_the_budget(shapes, amount):
    weights = {str(i): torch.zeros(o, n) for i, (o, n, _) in enumerate(shapes)}
    masks = {}
    for (name, weight), (_, _, share) in zip(weights.items(), shapes, strict=True):
        alive = round(share * weight.numel())
        masks[name] = keep_largest(torch.zeros(weight.shape), alive)
    alive = allocation.survivors(masks)
    kept = allocation.erk(weights, masks, amount)
    assert all(0 <= kept[name] <= alive[name] for name in alive)
    budget = (1 - amount) * sum(alive.values())
    assert abs(sum(kept.values()) - budget) <= len(shapes) / 2 + 1e-6  # each layer rounds once


def test_allocations_refuse_an_amount_that_is_no_fraction():
    weights = NETS["tiny_a"]
    for rule in allocation.ALLOCATIONS.values():
        with pytest.raises(ValueError, match=r"amount 1\.5 is not a fraction"):
            rule(weights, _all_true(weights), 1.5)


layer_counts = st.lists(
    st.integers(0, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    min_size=1,
    max_size=8,
)


@PROFILE
@given(layer_counts, st.data())
def test_exact_meets_the_total_within_every_layers_bounds(layers, data):
    kept = {str(i): k for i, (k, _) in enumerate(layers)}
    alive = {str(i): n for i, (_, n) in enumerate(layers)}
    total = data.draw(st.integers(0, sum(alive.values())))
    repaired = allocation.exact(kept, alive, total)
    assert sum(repaired.values()) == total
    assert list(repaired) == list(kept)
    assert all(0 <= repaired[name] <= alive[name] for name in alive)


def test_exact_spares_untouched_and_empty_layers_while_it_can():
    kept = {"dense": 10, "big": 60, "small": 5, "empty": 0}
    alive = {"dense": 10, "big": 100, "small": 50, "empty": 9}
    assert allocation.exact(kept, alive, 78) == {"dense": 10, "big": 62, "small": 6, "empty": 0}
    assert allocation.exact(kept, alive, 73) == {"dense": 10, "big": 59, "small": 4, "empty": 0}
    assert allocation.exact({"a": 1, "b": 60}, {"a": 9, "b": 90}, 55) == {"a": 1, "b": 54}


@PROFILE
@given(layer_counts, st.data())
def test_exact_spreads_the_difference_evenly_and_the_odd_ones_over_the_largest(layers, data):
    kept = {str(i): k for i, (k, _) in enumerate(layers)}
    alive = {str(i): n for i, (_, n) in enumerate(layers)}
    partly = [name for name in kept if 0 < kept[name] < alive[name]]
    room = sum(alive[name] - kept[name] for name in partly)
    spare = sum(kept[name] - 1 for name in partly)
    missing = data.draw(st.integers(-spare, room))
    repaired = allocation.exact(kept, alive, sum(kept.values()) + missing)
    moved = {name: repaired[name] - kept[name] for name in kept}
    assert all(moved[name] * missing >= 0 for name in kept)
    assert all(moved[name] == 0 for name in kept if name not in partly)
    bound = {name: alive[name] if missing > 0 else 1 for name in partly}
    free = sorted((n for n in partly if repaired[n] != bound[n]), key=lambda n: -kept[n])
    steps = [abs(moved[name]) for name in free]
    if steps:
        assert max(steps) - min(steps) <= 1
        assert max(abs(moved[name]) for name in partly) <= max(steps) + 1
        assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize("total", [-1, 11])
def test_exact_refuses_a_total_that_is_not_there(total):
    with pytest.raises(ValueError, match=f"cannot keep {total} of 10 weights"):
        allocation.exact({"a": 5}, {"a": 10}, total)


@pytest.mark.parametrize("rule", allocation.ALLOCATIONS)
def test_nothing_and_everything_can_be_asked_for(rule):
    weights = {"a": torch.randn(4, 3), "b": torch.randn(2, 4)}
    masks = _all_true(weights)
    give = allocation.ALLOCATIONS[rule]
    assert give(weights, masks, 0.0) == {"a": 12, "b": 8}
    if rule == "uniform_plus":  # its last layer has a floor
        with pytest.raises(ValueError, match="20 weights must go|infeasible"):
            give(weights, masks, 1.0)
    else:
        assert give(weights, masks, 1.0) == {"a": 0, "b": 0}


@pytest.mark.parametrize("amount", [-0.1, 1.05, 1.1, float("nan")])
def test_an_amount_is_a_fraction(amount):
    with pytest.raises(ValueError, match="is not a fraction"):
        allocation.uniform({"a": torch.ones(3)}, {"a": torch.ones(3, dtype=torch.bool)}, amount)


@pytest.mark.parametrize("masks", [{}, {"b": torch.ones(3, dtype=torch.bool)}])
def test_weights_and_masks_name_the_same_layers(masks):
    with pytest.raises(ValueError, match="must name the same layers"):
        allocation.uniform({"a": torch.ones(3)} if masks else {}, masks, 0.5)


def test_uniform_plus_spares_a_first_convolution_and_no_first_matrix():
    weights = {"first": torch.ones(10, 10), "middle": torch.ones(10, 10), "last": torch.ones(10, 5)}
    assert allocation.uniform_plus(weights, _all_true(weights), 0.5) == {
        "first": 50,
        "middle": 50,
        "last": 25,
    }
    weights["first"] = torch.ones(10, 10, 1, 1)  # 125 of the other 150 go: the last keeps a fifth
    assert allocation.uniform_plus(weights, _all_true(weights), 0.5) == {
        "first": 100,
        "middle": 15,
        "last": 10,
    }


def test_uniform_plus_of_a_lone_convolution_can_remove_nothing():
    weights = {"only": torch.ones(4, 4, 1, 1)}
    assert allocation.uniform_plus(weights, _all_true(weights), 0.0) == {"only": 16}
    with pytest.raises(ValueError, match=r"8 weights must go, but .* prune hold 0"):
        allocation.uniform_plus(weights, _all_true(weights), 0.5)


def test_erk_gives_an_emptied_layers_share_to_the_others():
    weights = {"gone": torch.ones(10, 10), "left": torch.ones(10, 10)}
    masks = _all_true(weights) | {"gone": torch.zeros(10, 10, dtype=torch.bool)}
    assert allocation.erk(weights, masks, 0.3) == {"gone": 0, "left": 70}


def test_no_masks_have_no_survivors():
    assert allocation.survivors({}) == {}


def test_uniform_plus_may_empty_the_layers_between():
    weights = {
        "first": torch.ones(10, 10, 1, 1),
        "middle": torch.ones(10, 10),
        "last": torch.ones(10, 5),
    }
    kept = allocation.uniform_plus(weights, _all_true(weights), 0.56)  # 140 of 250
    assert kept == {"first": 100, "middle": 0, "last": 10}
    with pytest.raises(ValueError, match="infeasible"):
        allocation.uniform_plus(weights, _all_true(weights), 0.564)  # one more


def test_lamp_scores_of_a_layer_of_zeros_are_zeros():
    assert allocation.lamp_scores(torch.zeros(2, 2), torch.ones(2, 2) > 0).tolist() == [[0, 0]] * 2


def test_exact_counts_a_layer_with_one_weight_as_pruned_and_not_as_emptied():
    assert allocation.exact({"a": 1, "b": 0}, {"a": 9, "b": 9}, 5) == {"a": 5, "b": 0}
