"""AC/DC: the published masks, schedules and training runs, and the intended rule."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from methods.acdc import ACDC, released_masks, scaled_phases
from methods.base import Schedule
from tests.methods.acdc_schedules import phase_epochs

FIXTURES = Path(__file__).parents[1] / "fixtures" / "acdc"
PROFILE = settings(deadline=None, max_examples=50, derandomize=True)
ATOL_TRAINING = 1e-5  # float32 sums of a matrix product in another order
MASKS = np.load(FIXTURES / "magnitude_masks.npz")
MASK_CASES = json.loads((FIXTURES / "magnitude_masks_index.json").read_text())
SCHEDULES = json.loads((FIXTURES / "schedules.json").read_text())


def _inputs(case):
    return {
        layer: torch.from_numpy(MASKS[f"in/{case}/{layer}"])
        for layer in sorted({key.split("/")[2] for key in MASKS if key.startswith(f"in/{case}/")})
    }


def _all_true(weights):
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


@pytest.mark.parametrize(
    "case",
    [c for c in MASK_CASES if "second" not in c["method"]],
    ids=lambda c: f"{c['method']}-{c['case']}-{c['level']}",
)
def test_released_rule_equals_the_reference_masks(case):
    weights = _inputs(case["case"])
    if "error" in case:
        with pytest.raises(ValueError, match="leaves no weight"):
            released_masks(weights, _all_true(weights), case["level"], case["method"])
        return
    masks = released_masks(weights, _all_true(weights), case["level"], case["method"])
    for layer, mask in masks.items():
        key = f"mask/{case['method']}/{case['case']}/{case['level']}/{layer}"
        expected = MASKS[key].astype(bool) if key in MASKS else np.ones(mask.shape, bool)
        np.testing.assert_array_equal(mask.numpy(), expected)


SECOND = sorted({key.rsplit("/", 1)[0] for key in MASKS if "second_prune" in key})


@pytest.mark.parametrize("key", SECOND)
def test_released_rule_pruning_twice_multiplies_scores_by_the_first_mask(key):
    _, method, case, levels = key.split("/")
    allocation = method.removesuffix("_second_prune")
    weights = _inputs(case)
    masks = _all_true(weights)
    for level in levels.split("_"):
        masks = released_masks(weights, masks, float(level), allocation)
    for layer, mask in masks.items():
        np.testing.assert_array_equal(mask.numpy(), MASKS[f"{key}/{layer}"].astype(bool))


def test_released_threshold_follows_the_float64_ceiling():
    for case in json.loads((FIXTURES / "percentile_threshold.json").read_text()):
        weights = {"fc": torch.arange(1, case["n"] + 1, dtype=torch.float32)}
        masks = released_masks(weights, _all_true(weights), case["p"], "uniform")
        assert int(masks["fc"].sum()) == case["kept"], case


def _phases(compress, decompress, epochs):
    letters, letter = [], "D"
    for epoch in range(epochs):
        letter = "S" if epoch in compress else "D" if epoch in decompress else letter
        letters.append(letter)
    return "".join(letters)


PUBLISHED_GROUPS = {  # (pruners, recyclers) as written in the configurations
    "imagenet-100": ([[10, 10, 71], [85, 20, 100]], [[15, 10, 66], [75, 20, 86]]),
    "imagenet-150": ([[10, 10, 121], [135, 20, 150]], [[15, 10, 116], [125, 20, 134]]),
    "imagenet-200": ([[10, 10, 171], [185, 20, 200]], [[15, 10, 166], [175, 20, 186]]),
    "cifar100-freq20": ([[10, 40, 171]], [[30, 40, 161]]),
    "cifar100-dense13": ([[10, 33, 180]], [[30, 33, 170]]),
    "cifar10-memorise": ([[10, 40, 171]], [[30, 40, 151]]),
    "gmp": ([[1, 5, 40]], []),
    "dense": ([], []),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_published_schedule_is_one_of_the_group_families(name):
    schedule = SCHEDULES[name]
    expected = (tuple(schedule["compress_epochs"]), tuple(schedule["decompress_epochs"]))
    families = [
        family
        for family, (pruners, recyclers) in PUBLISHED_GROUPS.items()
        if (phase_epochs(pruners), phase_epochs(recyclers)) == expected
    ]
    assert families
    if expected[0]:
        assert _driven_phases(*expected, schedule["epochs"]) == schedule["phase"]
        assert list(expected[1]) == schedule["momentum_reset_epochs"]


def _driven_phases(compress, decompress, epochs):
    """Dense or sparse per epoch, read off the masks of an attached method."""
    layer = nn.Linear(4, 4)
    options = ACDC.Settings(sparsity=0.5, compress=compress, decompress=decompress)
    method = ACDC(options)
    method.attach(nn.Sequential(layer), Schedule(epochs=epochs, steps_per_epoch=1))
    letters = []
    for epoch in range(epochs):
        method.begin_epoch(epoch)
        letters.append("D" if method.masks["0"].all() else "S")
    return "".join(letters)


def test_an_epoch_in_both_lists_compresses():
    assert _driven_phases((1, 3), (2, 3), 5) == "DSDSS"


def test_scaled_phases_of_100_epochs_are_the_published_ones():
    pruners, recyclers = PUBLISHED_GROUPS["imagenet-100"]
    assert scaled_phases(100) == (phase_epochs(pruners), phase_epochs(recyclers))


@PROFILE
@given(st.integers(4, 400))
def test_scaled_phases_alternate_and_end_sparse(epochs):
    compress, decompress = scaled_phases(epochs)
    switches = [s for pair in zip(compress, (*decompress, epochs), strict=True) for s in pair]
    assert switches == sorted(set(switches))
    assert switches[0] >= 1
    phases = _phases(compress, decompress, epochs)
    assert phases[-1] == "S"
    assert abs(phases.count("S") - epochs / 2) <= max(1, 0.16 * epochs)


def test_scaled_phases_of_a_short_run_by_hand():
    assert scaled_phases(4) == ((1, 3), (2,))
    assert scaled_phases(5) == ((1, 4), (3,))
    assert scaled_phases(6) == ((1, 3, 5), (2, 4))
    assert scaled_phases(7) == ((1, 4, 6), (2, 5))
    assert scaled_phases(10) == ((1, 3, 6, 8), (2, 5, 7))
    assert scaled_phases(200) == ((*range(20, 141, 20), 170), tuple(range(30, 151, 20)))
    assert scaled_phases(400) == ((*range(40, 281, 40), 340), tuple(range(60, 301, 40)))


@pytest.mark.parametrize("epochs", [0, 3])
def test_a_run_too_short_to_alternate_is_refused(epochs):
    with pytest.raises(ValueError, match=f"cannot alternate in {epochs} epochs"):
        ACDC(ACDC.Settings(sparsity=0.9)).attach(nn.Linear(4, 4), Schedule(epochs, 1))


@pytest.mark.parametrize(
    ("compress", "decompress", "message"),
    [
        ((1, 9), (), "epoch 9 is outside a run of 8 epochs"),
        ((1, 8), (), "epoch 8 is outside a run of 8 epochs"),
        ((1,), (3,), "would end dense"),
        ((1, 3), (2, 4), "decompression is at epoch 4, the last compression at 3"),
        ((-1,), (), "epoch -1 is outside"),
    ],
)
def test_impossible_phases_are_refused(compress, decompress, message):
    method = ACDC(ACDC.Settings(sparsity=0.5, compress=compress, decompress=decompress))
    with pytest.raises(ValueError, match=message):
        method.attach(nn.Sequential(nn.Linear(4, 4)), Schedule(epochs=8, steps_per_epoch=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a sparsity"),
        ({"sparsity": 1.2}, "sparsity 1.2 is not a fraction"),
        ({"sparsity": 0.5, "allocation": "erk"}, "allocation 'erk' is unknown to acdc"),
        ({"allocation": "4:4"}, "0 < N < M"),
        ({"allocation": "0:4"}, "0 < N < M"),
        ({"allocation": "1:4", "sparsity": 0.5}, "contradicts 1:4"),
        ({"sparsity": 0.5, "decompress": [3]}, "decompress without compress"),
    ],
)
def test_bad_settings_name_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        ACDC.Settings(**options)


def test_a_pattern_may_be_given_with_the_sparsity_that_it_means():
    assert ACDC.Settings(allocation="1:4", sparsity=0.75).sparsity == 0.75
    with pytest.raises(ValueError, match="contradicts 1:4, which means 0.75"):
        ACDC.Settings(allocation="1:4", sparsity=0.75 + 1.5e-9)


def test_phases_may_begin_with_the_run():
    method = ACDC(ACDC.Settings(sparsity=0.5, compress=(0, 7), decompress=(3,)))
    method.attach(nn.Sequential(nn.Linear(4, 4)), Schedule(epochs=8, steps_per_epoch=1))
    method.begin_epoch(0)
    assert int(method.masks["0"].sum()) == 8


def test_without_sparsity_the_published_rule_keeps_what_there_is():
    weights = {"a": torch.tensor([0.0, -1.0]), "b": torch.tensor([2.0, 0.0])}
    some = {"a": torch.tensor([True, False]), "b": torch.tensor([True, True])}
    for allocation, kept in (("global", [1, 2]), ("uniform", [2, 2])):
        masks = released_masks(weights, some, 0.0, allocation)
        assert [int(mask.sum()) for mask in masks.values()] == kept


def test_a_pattern_that_does_not_divide_names_the_layer():
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(5, 5))
    with pytest.raises(ValueError, match="2:4 does not divide layer '1' of 25 weights"):
        ACDC(ACDC.Settings(allocation="2:4")).attach(net, Schedule(10, 1))


@pytest.mark.parametrize("allocation", ["global", "uniform"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9, 0.95])
def test_intended_rule_keeps_exactly_the_requested_count_with_ties(allocation, sparsity):
    net = nn.Sequential(nn.Conv2d(8, 8, 3, groups=4), nn.Linear(7, 9))
    for layer in net:
        nn.init.constant_(layer.weight, 0.25)
    method = ACDC(ACDC.Settings(sparsity=sparsity, allocation=allocation))
    method.attach(net, Schedule(epochs=10, steps_per_epoch=1))
    method.begin_epoch(1)
    kept = sum(int(layer.weight.count_nonzero()) for layer in net)
    assert kept == 207 - round(sparsity * 207)


class _Driver:
    """Runs a stored two-layer training through the method's interface."""

    def __init__(self, name):
        self.arrays = np.load(FIXTURES / f"train_{name}.npz")
        self.plan = json.loads((FIXTURES / f"train_{name}.json").read_text())
        self.net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
        names = {"0.weight": "W1", "0.bias": "b1", "2.weight": "W2", "2.bias": "b2"}
        self.net.load_state_dict(
            {key: torch.from_numpy(self.arrays[f"in/{n}"]) for key, n in names.items()}
        )
        options = self.plan["config"]["trainers"]["default_trainer"]["optimizer"]
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), **{k: v for k, v in options.items() if k != "class"}
        )
        self.method = self._method()
        self.method.bind(self.optimizer)

    def _method(self):
        (pruner,) = self.plan["config"]["pruners"].values()
        (recycler,) = self.plan["config"]["recyclers"].values()
        shape = {
            "UnstructuredMagnitudePruner": "global",
            "MagnitudePruner": "uniform",
            "MagnitudeNMPruner": f"{pruner.get('N')}:{pruner.get('M')}",
        }[pruner["class"]]
        method = ACDC(
            ACDC.Settings(
                sparsity=pruner.get("target_sparsity"),
                allocation=shape,
                compress=phase_epochs([pruner["epochs"]]),
                decompress=phase_epochs([recycler["epochs"]]),
                variant="released",
            )
        )
        method.attach(self.net, Schedule(self.plan["epochs"], self.plan["iters_per_epoch"]))
        return method

    def step(self, step):
        per_epoch = self.plan["iters_per_epoch"]
        if step % per_epoch == 0:
            self.method.begin_epoch(step // per_epoch)
        self.optimizer.param_groups[0]["lr"] = float(self.arrays["out/lr"][step])
        self.method.begin_step(step)
        self.optimizer.zero_grad()
        logits = self.net(torch.from_numpy(self.arrays["in/X"][step]))
        targets = torch.from_numpy(self.arrays["in/Y"][step])
        loss = nn.functional.cross_entropy(logits, targets)
        loss.backward()
        self.method.after_backward()
        self.optimizer.step()
        self.method.after_step()
        return loss.item()

    def tensors(self):
        first, second = self.net[0], self.net[2]
        momentum = {p: s["momentum_buffer"] for p, s in self.optimizer.state.items()}
        return {
            "W1": first.weight,
            "b1": first.bias,
            "W2": second.weight,
            "b2": second.bias,
            "V1": momentum[first.weight],
            "vb1": momentum[first.bias],
            "V2": momentum[second.weight],
            "vb2": momentum[second.bias],
        }


RUNS = ["global_cosine", "uniform_nesterov_step", "nm24_cosine"]


@pytest.mark.parametrize("run", RUNS)
def test_training_equals_the_reference_run_step_by_step(run):
    driver = _Driver(run)
    for step in range(len(driver.arrays["out/lr"])):
        loss = driver.step(step)
        assert loss == pytest.approx(driver.arrays["out/loss"][step], abs=ATOL_TRAINING)
        for name, value in driver.tensors().items():
            expected = driver.arrays[f"out/{name}"][step]
            np.testing.assert_allclose(value.detach(), expected, rtol=0, atol=ATOL_TRAINING)
        for layer, name in (("0", "m1"), ("2", "m2")):
            expected = driver.arrays[f"out/{name}"][step].astype(bool)
            np.testing.assert_array_equal(driver.method.masks[layer].numpy(), expected)


@pytest.mark.parametrize("run", RUNS)
def test_momentum_reset_is_what_makes_the_run_agree(run):
    driver = _Driver(run)
    for step in range(len(driver.arrays["out/lr"])):
        driver.step(step)
    without = driver.arrays["out_without_reset/W1"][-1]
    assert np.abs(driver.net[0].weight.detach().numpy() - without).max() > 10 * ATOL_TRAINING


def test_reset_clears_every_parameters_momentum_once_and_keeps_the_buffers():
    driver = _Driver("global_cosine")
    reset = int(np.flatnonzero(driver.arrays["out/reset_flag"])[0])
    for step in range(reset):
        driver.step(step)
    buffers = [state["momentum_buffer"] for state in driver.optimizer.state.values()]
    assert all(buffer.any() for buffer in buffers)
    driver.method.begin_epoch(reset // driver.plan["iters_per_epoch"])
    driver.method.begin_step(reset)
    assert not any(buffer.any() for buffer in buffers)
    buffers[0].fill_(1.0)
    driver.method.begin_step(reset + 1)
    assert buffers[0].all()


def test_reset_without_an_optimizer_is_refused():
    method = ACDC(ACDC.Settings(sparsity=0.5, compress=(1, 3), decompress=(2,)))
    method.attach(nn.Sequential(nn.Linear(4, 4)), Schedule(4, 1))
    method.begin_epoch(2)
    with pytest.raises(ValueError, match="call bind"):
        method.begin_step(2)


@pytest.mark.parametrize("stop", [9, 13, 18, 20, 25])  # dense, sparse, before and after a reset
def test_resumed_run_is_bit_identical(stop):
    whole, first = _Driver("global_cosine"), _Driver("global_cosine")
    steps = len(whole.arrays["out/lr"])
    for step in range(steps):
        whole.step(step)
    for step in range(stop):
        first.step(step)
    second = _Driver("global_cosine")
    second.net.load_state_dict(first.net.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.method.load_state_dict(first.method.state_dict())
    second.method.begin_epoch((stop - 1) // second.plan["iters_per_epoch"])
    for step in range(stop, steps):
        second.step(step)
    for mine, theirs in zip(second.net.parameters(), whole.net.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_published_checkpoint_becomes_plain_keys():
    raw = {
        "model_state_dict": {
            "module.fc._weight_mask": torch.tensor([[1.0, 0.0]]),
            "module.fc._layer.weight": torch.tensor([[2.0, 3.0]]),
        }
    }
    plain = ACDC.import_published(raw)
    assert list(plain) == ["fc.weight"]
    assert plain["fc.weight"].tolist() == [[2.0, 0.0]]
