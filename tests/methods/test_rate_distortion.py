from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from methods import get
from methods.base import Schedule
from methods.inventory import prunable_weights
from methods.rate_distortion import (
    LayerFlops,
    RateDistortion,
    RateDistortionSettings,
    calibration_indices,
    curve_key,
    flops_remaining,
    output_positions,
    synthetic_images,
    tensors_hash,
)
from methods.rate_distortion.exact_count import kept_counts
from tests.methods.rd_fixtures import TINY, Tiny, arrays, described

ATOL_FLOPS = 1e-6  # stored in float32


def _method(**settings) -> RateDistortion:
    return RateDistortion(RateDistortionSettings(**settings))


def _survivors(model: nn.Module) -> list[int]:
    return [int(layer.parameter.count_nonzero()) for layer in prunable_weights(model).values()]


def _flops(model: nn.Module) -> float:
    layers = prunable_weights(model)
    positions = output_positions(model, torch.zeros(1, 3, 32, 32), layers)
    return flops_remaining(
        LayerFlops(
            positions[name],
            int(layer.parameter.count_nonzero()),
            layer.parameter.numel(),
            layer.owner.bias is not None,
        )
        for name, layer in layers.items()
    )


def test_the_method_is_found_by_name():
    assert get("rd") is RateDistortion


@pytest.mark.parametrize("name", TINY)
def test_official_rounds_from_stored_curves_match_the_published_program(name):
    stored, names = arrays(name), described(name)["layer_names"]
    images, model = torch.tensor(stored["calib_x"]), Tiny(name)
    method = _method(solver="official")
    for entry in described(name)["rd_iterative"]["trace"]:
        rows = torch.tensor(stored[f"iter{entry['iteration']}_rd_dist_worst"])
        method.options = {"known": dict(zip(names, rows, strict=True))}
        method.prune(model, entry["target_sparsity"], images)
        assert list(method.allocation.choices) == [round(100 * phi) for phi in entry["phi"]]
        assert list(method.allocation.kept) == entry["survivors"] == _survivors(model)
        for layer in names:
            mask = torch.tensor(stored[f"iter{entry['iteration']}_mask/{layer}"]).bool()
            assert torch.equal(method.masks[layer], mask)
        assert _flops(model) == pytest.approx(entry["flops_remaining"], abs=ATOL_FLOPS)


@pytest.mark.parametrize("name", TINY)
def test_official_rounds_from_measured_curves_stay_within_one_step(name):
    images, model = torch.tensor(arrays(name)["calib_x"]), Tiny(name)
    method = _method(solver="official")
    for entry in described(name)["rd_iterative"]["trace"][:2]:
        method.prune(model, entry["target_sparsity"], images)
        steps = [round(100 * phi) for phi in entry["phi"]]
        moved = [abs(a - b) for a, b in zip(method.allocation.choices, steps, strict=True)]
        assert max(moved) <= 1


@pytest.mark.parametrize("target", ["0.5", "0.9"])
@pytest.mark.parametrize(("name", "reduction"), [("tiny_a", "worst"), ("tiny_c", "mean")])
def test_exact_pruning_matches_the_stored_allocation(name, reduction, target):
    targets = described(name)[f"dp_{reduction}"]
    if target not in targets:
        target = "0.92"
    expected, model = targets[target]["exact"], Tiny(name)
    method = _method(reduction=reduction, exact_count=False)
    method.prune(model, float(target), torch.tensor(arrays(name)["calib_x"]))
    allocation = method.allocation
    assert list(allocation.choices) == expected["k"]
    assert sum(allocation.kept) == expected["kept"] == sum(_survivors(model))
    rows = list(range(len(allocation.choices)))
    chosen = allocation.measurement.distortion[rows, list(allocation.choices)]
    assert float(chosen.sum()) == pytest.approx(expected["objective"], rel=1e-4)
    sizes = allocation.measurement.sizes
    rule = [n - int(k / 100 * n) for n, k in zip(sizes, allocation.choices, strict=True)]
    assert list(allocation.kept) == rule


@pytest.mark.parametrize("target", [0.37, 0.5, 0.9, 0.963])
def test_what_a_step_of_the_grid_removed_too_much_is_given_back(target):
    model, on_grid = Tiny("tiny_a"), Tiny("tiny_a")
    images = torch.tensor(arrays("tiny_a")["calib_x"])
    total = sum(_survivors(model))
    exact, coarse = _method(points=10), _method(points=10, exact_count=False)
    exact.prune(model, target, images)
    coarse.prune(on_grid, target, images)
    assert sum(_survivors(model)) == total - round(target * total)
    assert exact.allocation.choices == coarse.allocation.choices
    assert all(bool((exact.masks[n] | ~mask).all()) for n, mask in coarse.masks.items())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_giving_back_fills_the_steepest_step_first_and_stops_at_the_target(data):
    sizes = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    points = data.draw(st.integers(2, 6))
    kept = [[n - int(k / (points - 1) * n) for k in range(points)] for n in sizes]
    numbers = st.lists(st.integers(0, 9), min_size=points, max_size=points).map(sorted)
    curves = torch.tensor([data.draw(numbers) for _ in sizes]).double()
    choices = [data.draw(st.integers(0, points - 1)) for _ in sizes]
    live = [data.draw(st.integers(0, n)) for n in sizes]
    start = [min(row[k], alive) for row, k, alive in zip(kept, choices, live, strict=True)]
    target = data.draw(st.integers(sum(start), sum(sizes)))
    counts = kept_counts(curves, kept, choices, live, target)
    assert sum(counts) == min(target, sum(live))
    assert all(a <= b <= alive for a, b, alive in zip(start, counts, live, strict=True))
    slopes = {  # of the first step down, per weight that it gives back
        layer: float(curves[layer, k] - curves[layer, k - 1])
        / max(1, min(kept[layer][k - 1], live[layer]) - start[layer])
        for layer, k in enumerate(choices)
        if k and start[layer] < live[layer]
    }
    if slopes and target > sum(start):
        steepest = max(slopes, key=lambda layer: (slopes[layer], -layer))
        room = min(kept[steepest][choices[steepest] - 1], live[steepest]) - start[steepest]
        assert counts[steepest] - start[steepest] >= min(room, target - sum(start))


def test_rounds_never_revive_a_weight_and_reach_every_target():
    model, images = Tiny("tiny_a"), torch.tensor(arrays("tiny_a")["calib_x"])
    total = sum(_survivors(model))
    method = _method(points=20)
    method.attach(model, Schedule(0, 1))
    before = {name: mask.clone() for name, mask in method.masks.items()}
    for target in (0.2, 0.5, 0.85):
        method.prune(model, target, images)
        assert sum(_survivors(model)) == total - round(target * total)
        assert all(bool((before[n] | ~mask).all()) for n, mask in method.masks.items())
        before = {name: mask.clone() for name, mask in method.masks.items()}


def test_macs_budget_counts_output_positions():
    model, images = Tiny("tiny_a"), torch.tensor(arrays("tiny_a")["calib_x"])
    positions = output_positions(model, images[:1], prunable_weights(model))
    assert positions == {"conv1": 144, "conv2": 36, "conv3": 36, "conv4": 36, "fc": 1}
    dense = sum(n * positions[k] for n, k in zip(_survivors(model), positions, strict=True))
    method = _method(points=50, budget="macs")
    method.prune(model, 0.6, images)
    left = sum(n * positions[k] for n, k in zip(method.allocation.kept, positions, strict=True))
    assert 0.39 * dense < left <= 0.4 * dense


def test_official_errors_leave_the_model_as_it_was():
    model, images = Tiny("tiny_a"), torch.tensor(arrays("tiny_a")["calib_x"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method = _method(solver="official", points=10)
    with pytest.raises(IndexError, match="use the exact solver"):
        method.prune(model, 0.9, images)
    assert method.allocation is None
    assert all(torch.equal(value, before[n]) for n, value in model.state_dict().items())


def test_a_resumed_run_goes_on_as_if_never_stopped():
    images = torch.tensor(arrays("tiny_a")["calib_x"])
    model, method = Tiny("tiny_a"), _method(solver="official", points=20)
    method.prune(model, 0.3, images)
    resumed_model, resumed = Tiny("tiny_a"), _method(solver="official", points=20)
    resumed.attach(resumed_model, Schedule(0, 1))
    resumed.load_state_dict(method.state_dict())
    method.prune(model, 0.5, images)
    resumed.prune(resumed_model, 0.5, images)
    assert resumed.allocation.previous == method.allocation.previous
    assert all(torch.equal(resumed.masks[name], mask) for name, mask in method.masks.items())


def test_rates_chosen_for_one_model_do_not_bind_another():
    images = torch.tensor(arrays("tiny_a")["calib_x"])
    method = _method(solver="official", points=10)
    method.prune(Tiny("tiny_a"), 0.5, images)
    method.prune(Tiny("tiny_a"), 0.2, images)
    assert method.allocation.previous == (0.0,) * 5


def test_zeros_a_model_brings_count_as_reached():
    model, images = Tiny("tiny_a"), torch.tensor(arrays("tiny_a")["calib_x"])
    model.conv4.weight.data.view(-1)[:189] = 0  # a third of 567
    method = _method(points=10)
    method.prune(model, 0.3, images)
    assert method.allocation.previous == (0.0, 0.0, 0.0, pytest.approx(1 / 3), 0.0)
    assert method.allocation.choices[3] >= 4


def test_excluded_layers_stay_dense():
    model, images = Tiny("tiny_a"), torch.tensor(arrays("tiny_a")["calib_x"])
    method = _method(points=10, exclude=("conv1", "fc"))
    method.prune(model, 0.8, images)
    assert _survivors(model)[0] == 216
    assert _survivors(model)[4] == 90
    assert method.allocation.measurement.names == ("conv2", "conv3", "conv4")


def test_pruning_refuses_what_it_cannot_do():
    model, images = Tiny("tiny_a"), torch.tensor(arrays("tiny_a")["calib_x"])
    with pytest.raises(ValueError, match="pass a calibration set"):
        _method().prune(model, 0.5)
    with pytest.raises(ValueError, match="target 90 is not a fraction"):
        _method().prune(model, 90, images)
    with pytest.raises(ValueError, match="no MACs budget"):
        _method(solver="official", budget="macs")


def test_published_files_become_plain_weights():
    raw = {
        "fc.weight_orig": torch.full((2, 3, 1, 1), 5.0),
        "fc.weight_mask": torch.tensor([1.0, 0, 1, 0, 0, 1]).view(2, 3, 1, 1),
        "fc.bias": torch.zeros(2),
    }
    plain = RateDistortion.import_published(raw)
    assert plain["fc.weight"].tolist() == [[5.0, 0.0, 5.0], [0.0, 0.0, 5.0]]


def test_cifar_calibration_takes_every_stride_from_the_start():
    assert calibration_indices(50000, 1024) == list(range(0, 1024 * 48, 48))
    assert calibration_indices(50000, 20) == list(range(0, 50000, 2500))
    assert calibration_indices(7, 7) == list(range(7))


def test_folder_calibration_drops_the_last():
    images = 1281167
    assert calibration_indices(images, 256, folder=True) == list(range(0, 256 * 5004, 5004))
    assert len(calibration_indices(images, 1024, folder=True)) == 1024
    assert calibration_indices(100, 10, folder=True) == list(range(0, 90, 10))


def test_calibration_needs_images():
    with pytest.raises(ValueError, match="cannot draw 8 calibration images from 0; .*empty"):
        calibration_indices(0, 8, folder=True)
    with pytest.raises(ValueError, match="cannot draw 0"):
        calibration_indices(10, 0)
    with pytest.raises(ValueError, match="only one"):
        calibration_indices(1, 1, folder=True)


def test_synthetic_images_depend_on_the_seed_alone():
    torch.manual_seed(0)
    first = synthetic_images(64, (3, 8, 8), 5)
    torch.manual_seed(1)
    assert torch.equal(first, synthetic_images(64, (3, 8, 8), 5))
    assert not torch.equal(first, synthetic_images(64, (3, 8, 8), 6))
    assert abs(float(first.mean())) < 0.05
    assert abs(float(first.std()) - 1) < 0.05


def test_flops_left_counts_a_bias_once_per_position_and_skips_idle_layers():
    layers = [
        LayerFlops(positions=4, nnz=5, size=10, has_bias=True),
        LayerFlops(positions=1, nnz=3, size=6, has_bias=False),
        LayerFlops(positions=None, nnz=0, size=1000, has_bias=False),
    ]
    assert flops_remaining(layers) == (4 * 6 + 3) / (4 * 11 + 6)
    with pytest.raises(ValueError, match="no executed layer"):
        flops_remaining(layers[2:])


@pytest.mark.parametrize("name", ["resnet32_cifar", "effnetb0_cifar", "vgg16_bn_imagenet"])
def test_flops_denominator_matches_the_published_program(name):
    table = described("layer_tables")[name]
    rows = [(torch.Size(row[1]).numel(), row[4], row[5]) for row in table["layers"]]
    dense = sum(area * (n + bias) for n, bias, area in rows if area)
    assert dense == table["official_flops_denominator"]
    layers = [LayerFlops(area, n if i else 0, n, bias) for i, (n, bias, area) in enumerate(rows)]
    first = rows[0][0] * rows[0][2]
    assert flops_remaining(layers) == pytest.approx(1 - first / dense, rel=1e-12)


@pytest.mark.parametrize("rule", ["lamp", "glob", "unif", "unifplus", "erk"])
def test_flops_left_of_the_formula_net_match_the_published_program(rule):
    stored = described("formula_resnet32_cifar")
    rows = described("layer_tables")["resnet32_cifar"]["layers"]
    survivors = stored["one_shot"][rule]["0.8"]["survivors"]
    left = flops_remaining(
        LayerFlops(row[5], kept, torch.Size(row[1]).numel(), row[4])
        for row, kept in zip(rows, survivors, strict=True)
    )
    assert left == pytest.approx(stored["flops_remaining_at_0.8"][rule], abs=ATOL_FLOPS)


def test_cache_keys_differ_in_everything_that_changes_the_result():
    base = {"target": 0.5, "solver": "exact", "budget": "weights", "previous": [0.0, 0.1]}
    variants = [
        curve_key("w", "c", "worst", 100),
        curve_key("v", "c", "worst", 100),
        curve_key("w", "d", "worst", 100),
        curve_key("w", "c", "mean", 100),
        curve_key("w", "c", "worst", 50),
        curve_key("w", "c", "worst", 100, **base),
        curve_key("w", "c", "worst", 100, **{**base, "target": 0.6}),
        curve_key("w", "c", "worst", 100, **{**base, "solver": "official"}),
        curve_key("w", "c", "worst", 100, **{**base, "budget": "macs"}),
        curve_key("w", "c", "worst", 100, **{**base, "previous": [0.0, 0.2]}),
    ]
    assert len(set(variants)) == len(variants)
    assert variants[0] == curve_key("w", "c", "worst", 100)


def test_tensor_hashes_see_values_names_shapes_and_types():
    values = torch.arange(6, dtype=torch.float32)
    hashes = {
        tensors_hash({"a": values}),
        tensors_hash({"b": values}),
        tensors_hash({"a": values.view(2, 3)}),
        tensors_hash({"a": values.double()}),
        tensors_hash({"a": values + 1}),
        tensors_hash({"a": torch.tensor(1)}),
    }
    assert len(hashes) == 6
    assert tensors_hash({"a": values}) == tensors_hash({"a": values.clone()})
