"""GMP: the paper's ramp with exact counts, and the released variant against its reference."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.registry import load
from methods.base import Schedule
from methods.gmp import GMP, cubic, released_rate
from methods.masks import kept_count

FIXTURES = Path(__file__).parents[1] / "fixtures"
ATOL_CONV = 1e-5  # float32 sums of a convolution in another order
CONV = np.load(FIXTURES / "str" / "gmp_conv.npz")
CASES = sorted({key.split("__")[0] for key in CONV})
RATES = json.loads((FIXTURES / "str" / "schedules.json").read_text())


def _array(case, name):
    return torch.from_numpy(CONV[f"{case}__{name}"])


@pytest.mark.parametrize("config", RATES)
def test_released_rate_equals_the_reference_loop(config):
    plan = RATES[config]
    rates = [
        released_rate(e, plan["prune_rate"], plan["init_prune_epoch"], plan["final_prune_epoch"])
        for e in range(plan["epochs"])
    ]
    assert rates == pytest.approx(plan["layer_prune_rate_per_epoch"], rel=0, abs=1e-12)


def test_a_ramp_may_begin_and_end_with_the_first_epoch_and_step_at_every_update():
    assert GMP.Settings(sparsity=0.5, begin=0, end=0, epochs=[0]).epochs == (0,)
    assert GMP.Settings(sparsity=0.5, update_every=1).update_every == 1


def test_cubic_ramp_gives_the_published_acdc_gmp_levels():
    plan = json.loads((FIXTURES / "acdc" / "schedules.json").read_text())
    plan = plan["imagenet_resnet50_gmp_sp80"]
    levels = [cubic((epoch - 1) / 39, 0.05, 0.8) for epoch in plan["compress_epochs"]]
    assert levels == pytest.approx(plan["level_at_compress"], rel=0, abs=1e-9)


def test_masks_are_drawn_at_the_epochs_named_and_at_no_other():
    """The AC/DC repository's gmp: its ramp ends after its last mask, so the target stays unmet."""
    plan = json.loads((FIXTURES / "acdc" / "schedules.json").read_text())
    plan = plan["imagenet_resnet50_gmp_sp80"]
    recipe = load().recipes["acdc-gmp-resnet50-100ep"]
    net, steps = _net(), 3
    total = sum(weight.numel() for weight in _weights(net))
    method = GMP(GMP.Settings(sparsity=0.8, **recipe.settings))
    method.attach(net, Schedule(plan["epochs"], steps))
    _, zeros = _train(net, method, Schedule(plan["epochs"], steps))
    levels = dict(zip(plan["compress_epochs"], plan["level_at_compress"], strict=True))
    assert zeros[0] == 0
    for epoch, level in levels.items():
        assert zeros[epoch * steps] == total - kept_count(total, level)
    changes = [i for i in range(1, len(zeros)) if zeros[i] != zeros[i - 1]]
    assert changes == [epoch * steps for epoch in levels]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": [3]}, "set both"),
        ({"epochs": [3], "begin": 1, "end": 9, "update_every": 2}, "not update_every"),
        ({"epochs": [3, 12], "begin": 1, "end": 9}, r"\[3, 12\] must ascend from 1 to 9"),
        ({"epochs": [5, 3], "begin": 1, "end": 9}, "must ascend"),
    ],
)
def test_epochs_off_the_ramp_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        GMP.Settings(sparsity=0.8, **options)


def _net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 20), nn.Linear(20, 3)
    )


def _weights(net):
    return [net[0].weight, net[3].weight, net[4].weight]


def _train(net, method, schedule, steps=None, optimizer=None):
    """Drive the whole run; returns (optimizer, zeros after each step)."""
    if optimizer is None:
        groups = method.parameter_groups(net) or net.parameters()
        optimizer = torch.optim.SGD(groups, 0.05, momentum=0.9, weight_decay=1e-3)
        method.bind(optimizer)
    zeros = []
    for step in steps or range(schedule.epochs * schedule.steps_per_epoch):
        if step % schedule.steps_per_epoch == 0:
            method.begin_epoch(step // schedule.steps_per_epoch)
        method.begin_step(step)
        optimizer.zero_grad()
        x = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(step))
        net(x).square().mean().backward()
        method.after_backward()
        optimizer.step()
        method.after_step()
        zeros.append(sum(int((w == 0).sum()) for w in _weights(net)))
    return optimizer, zeros


TOTAL = 144 + 160 + 60


@pytest.mark.parametrize("allocation", ["uniform", "erk", "global", "lamp"])
def test_paper_ramp_follows_the_cubic_and_ends_at_exactly_the_target(allocation):
    net, schedule = _net(), Schedule(epochs=10, steps_per_epoch=4)
    options = {"sparsity": 0.8, "begin": 2, "end": 6, "update_every": 3, "allocation": allocation}
    method = GMP(GMP.Settings(**options))
    method.attach(net, schedule)
    _, zeros = _train(net, method, schedule)
    due = [step for step in range(8, 24, 3)] + [24]
    for step, count in enumerate(zeros):
        last = max((d for d in due if d <= step), default=8)
        assert count == round(cubic((last - 8) / 16, 0.0, 0.8) * TOTAL), step
    plain = method.finalize(net)
    assert sum(int(w.count_nonzero()) for w in _weights(plain)) == TOTAL - round(0.8 * TOTAL)


def test_paper_ramp_starts_at_the_initial_sparsity():
    net, schedule = _net(), Schedule(epochs=4, steps_per_epoch=2)
    method = GMP(GMP.Settings(sparsity=0.8, initial=0.25, begin=1, end=3, update_every=100))
    method.attach(net, schedule)
    _, zeros = _train(net, method, schedule)
    assert zeros == [0, 0, 91, 91, 91, 91, 291, 291]


@pytest.mark.parametrize("epochs", [1, 2, 7])
def test_default_ramp_fits_short_runs(epochs):
    net, schedule = _net(), Schedule(epochs=epochs, steps_per_epoch=1)
    method = GMP(GMP.Settings(sparsity=0.5))
    method.attach(net, schedule)
    _, zeros = _train(net, method, schedule)
    assert zeros[-1] == round(0.5 * TOTAL)


def test_paper_budget_is_met_per_layer():
    net, schedule = _net(), Schedule(epochs=5, steps_per_epoch=2)
    method = GMP(GMP.Settings(sparsity=0.5, budget={"0": 17, "3": 0.9}))
    method.attach(net, schedule)
    _train(net, method, schedule)
    assert [int(w.count_nonzero()) for w in _weights(method.finalize(net))] == [17, 16, 30]


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("stop", [5, 9, 16])
def test_resumed_run_is_bit_identical(variant, stop):
    schedule = Schedule(epochs=10, steps_per_epoch=2)
    options = GMP.Settings(sparsity=0.8, variant=variant)

    def fresh():
        net, method = _net(), GMP(options)
        method.attach(net, schedule)
        return net, method

    whole, method = fresh()
    _train(whole, method, schedule)
    first, method = fresh()
    optimizer, _ = _train(first, method, schedule, range(stop))
    second, resumed = fresh()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(copy.deepcopy(method.state_dict()))
    continued = torch.optim.SGD(second.parameters(), 0.05, momentum=0.9, weight_decay=1e-3)
    continued.load_state_dict(optimizer.state_dict())
    _train(second, resumed, schedule, range(stop, 20), continued)
    for mine, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_released_convolution_equals_the_reference(case, layout):
    weight = _array(case, "weight")
    options = {name: int(_array(case, name)) for name in ("stride", "padding", "groups")}
    channels = weight.shape[1] * options["groups"]
    layer = nn.Conv2d(channels, weight.shape[0], weight.shape[2], bias=False, **options)
    layer.weight.data = weight.clone()
    layer.to(memory_format=layout)
    rate = float(_array(case, "prune_rate"))
    method = GMP(GMP.Settings(sparsity=rate, begin=0, end=1, variant="released"))
    method.attach(nn.Sequential(layer), Schedule(epochs=2, steps_per_epoch=1))
    method.load_state_dict({"kept": {"0": weight.numel() - int(rate * weight.numel())}})
    assert torch.equal(layer.weight, _array(case, "effective_weight"))
    x = _array(case, "x").requires_grad_()
    y = layer(x)
    (y * _array(case, "upstream")).sum().backward()
    gradient = next(layer.parameters()).grad
    for value, name in ((y, "y"), (x.grad, "grad_x"), (gradient, "grad_weight")):
        torch.testing.assert_close(value, _array(case, name), rtol=0, atol=ATOL_CONV)
    assert not gradient[_array(case, "effective_weight") == 0].any()


def test_released_counts_are_truncated_and_stored_weights_survive():
    net, schedule = _net(), Schedule(epochs=10, steps_per_epoch=2)
    method = GMP(GMP.Settings(sparsity=0.8, begin=2, end=7, variant="released"))
    method.attach(net, schedule)
    _, zeros = _train(net, method, schedule)
    for step, count in enumerate(zeros):
        rate = released_rate(step // 2, 0.8, 2, 7)
        assert count == sum(int(rate * size) for size in (144, 160, 60)), step
    stored = [p for name, p in net.named_parameters() if name.endswith("original")]
    assert all(p.all() for p in stored)
    plain = method.finalize(net)
    assert sum(int((w == 0).sum()) for w in _weights(plain)) == zeros[-1]
    assert list(plain.state_dict()) == list(_net().state_dict())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no sparsity: set it"),
        ({"sparsity": 1.2}, r"sparsity 1\.2 is not a fraction"),
        ({"sparsity": 0.5, "initial": 0.6}, "initial 0.6 is above sparsity 0.5"),
        ({"sparsity": 0.5, "begin": -1}, "begin"),
        ({"sparsity": 0.5, "end": -1}, "end"),
        ({"sparsity": 0.5, "update_every": 0}, "update_every"),
        ({"sparsity": 0.5, "begin": 0, "end": 0, "epochs": [1]}, r"\[1\] must ascend from 0 to 0"),
        ({"sparsity": 0.5, "begin": 5, "end": 4}, "begin 5 is after end 4"),
        ({"budget": {"0": 3}, "allocation": "erk"}, "a budget fixes the layers"),
        ({"sparsity": 0.5, "variant": "released", "update_every": 9}, "one uniform update per"),
    ],
)
def test_bad_settings_name_the_value(options, message):
    with pytest.raises(ValueError, match=message):
        GMP.Settings(**options)


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_ramp_beyond_the_run_is_refused(variant):
    method = GMP(GMP.Settings(sparsity=0.5, begin=2, end=8, variant=variant))
    with pytest.raises(ValueError, match="does not fit a run of"):
        method.attach(_net(), Schedule(epochs=8, steps_per_epoch=3))


def _drawn(schedule, steps, **options):
    """The steps at which masks are drawn, of `steps`, and the counts asked for."""
    method = GMP(GMP.Settings(sparsity=0.5, **options))
    method.attach(nn.Linear(10, 10), schedule)
    asked = {}
    prune_to = method.pruner.prune_to
    for step in steps:
        method.pruner.prune_to = lambda kept, name, step=step: (
            asked.update({step: kept}) or prune_to(kept, name)
        )
        method.begin_step(step)
    return asked


@pytest.mark.parametrize(
    ("per_epoch", "every"),
    [
        (1, 1),  # six steps of ramp: every one
        (33, 1),  # 198 steps are fewer than two each
        (34, 2),
        (100, 6),
        (16_666, 999),
        (16_667, 1000),
        (100_000, 1000),  # at most a thousand apart, however long the run
    ],
)
def test_the_default_pace_is_a_hundred_updates_at_most_a_thousand_steps_apart(per_epoch, every):
    schedule = Schedule(epochs=10, steps_per_epoch=per_epoch)
    begin, end = 2 * per_epoch, 8 * per_epoch
    steps = [begin - 1, begin, begin + every - 1, begin + every, begin + 2 * every, end, end + 1]
    drawn = _drawn(schedule, dict.fromkeys(step for step in steps if step >= 0))
    on_pace = {begin, begin + every, begin + 2 * every}
    if every == 1:
        on_pace |= {begin + every - 1}
    assert set(drawn) == {step for step in on_pace if step < end} | {end}
    assert drawn[begin] == 100 and drawn[end] == 50


def test_a_ramp_of_one_moment_prunes_at_once():
    schedule = Schedule(epochs=4, steps_per_epoch=3)
    assert _drawn(schedule, range(12), begin=3, end=3) == {9: 50}


def test_masks_may_be_drawn_at_both_ends_of_the_ramp():
    schedule = Schedule(epochs=10, steps_per_epoch=2)
    assert set(_drawn(schedule, range(20), begin=1, end=9, epochs=(1, 9))) == {2, 18}


@pytest.mark.parametrize("epochs", [(0,), (10,), (3, 3)])
def test_epochs_stay_on_the_ramp_and_come_once(epochs):
    with pytest.raises(ValueError, match="must ascend from 1 to 9"):
        GMP.Settings(sparsity=0.8, begin=1, end=9, epochs=epochs)


@pytest.mark.parametrize("options", [{"begin": 1}, {"end": 9}, {}])
def test_epochs_need_both_ends_of_the_ramp(options):
    with pytest.raises(ValueError, match="set both"):
        GMP.Settings(sparsity=0.8, epochs=(3,), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"initial": 0.1},
        {"update_every": 3},
        {"epochs": (1,), "begin": 1, "end": 2},
        {"allocation": "erk"},
    ],
)
def test_the_released_form_takes_none_of_the_papers_choices(options):
    GMP.Settings(sparsity=0.5, **options)
    with pytest.raises(ValueError, match="one uniform update per epoch"):
        GMP.Settings(sparsity=0.5, variant="released", **options)


def test_edges_of_the_settings_are_allowed():
    assert GMP.Settings(sparsity=0.5, initial=0.5, begin=3, end=3).initial == 0.5
    assert GMP.Settings(budget={"0": 3}, allocation="uniform").budget == {"0": 3}


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_a_ramp_may_end_with_the_last_epoch(variant):
    method = GMP(GMP.Settings(sparsity=0.5, begin=2, end=7, variant=variant))
    method.attach(_net(), Schedule(epochs=8, steps_per_epoch=3))


@pytest.mark.parametrize(
    ("epochs", "begin", "end"), [(10, 2, 7), (20, 4, 15), (1, 0, 0), (2, 0, 0), (5, 1, 3)]
)
def test_the_released_ramp_covers_the_middle_of_the_run(epochs, begin, end):
    method = GMP(GMP.Settings(sparsity=0.5, variant="released"))
    net = nn.Linear(1000, 1)
    method.attach(net, Schedule(epochs, 1))
    kept = []
    for epoch in range(epochs):
        method.begin_epoch(epoch)
        kept.append(method.state_dict()["kept"][""])
    expected = [1000 - int(released_rate(epoch, 0.5, begin, end) * 1000) for epoch in range(epochs)]
    assert kept == expected


def test_the_ramp_is_cut_to_its_ends():
    assert [cubic(p, 0.1, 0.9) for p in (-1.0, 0.0, 1.0, 2.0)] == pytest.approx(
        [0.1, 0.1, 0.9, 0.9]
    )
    assert cubic(0.5, 0.1, 0.9) == pytest.approx(0.9 - 0.8 / 8)
