"""Optimizers built from recipes against their update rules, written out."""

import pytest
import torch

from harness.registry.recipes import LrSchedule, Optimizer, learning_rate
from harness.training.optimizers import build_optimizer, set_learning_rate, usual_groups

RTOL = 1e-6  # float32, fused against separate operations
STEPS = 7


def sgd(p, g, state, lr, spec):
    g = g + spec.weight_decay * p
    if spec.momentum:
        state["v"] = g if "v" not in state else spec.momentum * state["v"] + g
        g = g + spec.momentum * state["v"] if spec.nesterov else state["v"]
    return p - lr * g


def adam(p, g, state, lr, spec, decoupled=False):
    if decoupled:
        p = p - lr * spec.weight_decay * p
    else:
        g = g + spec.weight_decay * p
    (b1, b2), t = spec.betas, state.setdefault("t", 0) + 1
    state["t"] = t
    state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    state["s"] = b2 * state.get("s", 0) + (1 - b2) * g * g
    step = state["m"] / (1 - b1**t)
    return p - lr * step / ((state["s"] / (1 - b2**t)).sqrt() + spec.eps)


def adamw(p, g, state, lr, spec):
    return adam(p, g, state, lr, spec, decoupled=True)


def adadelta(p, g, state, lr, spec):
    g = g + spec.weight_decay * p
    state["s"] = spec.rho * state.get("s", 0) + (1 - spec.rho) * g * g
    delta = ((state.get("d", torch.zeros(())) + spec.eps) / (state["s"] + spec.eps)).sqrt() * g
    state["d"] = spec.rho * state.get("d", 0) + (1 - spec.rho) * delta * delta
    return p - lr * delta


CASES = {
    "plain": (Optimizer("sgd", lr=0.1), sgd),
    "decay": (Optimizer("sgd", lr=0.1, weight_decay=0.01), sgd),
    "momentum": (Optimizer("sgd", lr=0.1, momentum=0.875, weight_decay=0.01), sgd),
    "nesterov": (Optimizer("sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4), sgd),
    "adam": (Optimizer("adam", lr=0.01, weight_decay=0.1, betas=(0.8, 0.9)), adam),
    "adamw": (Optimizer("adamw", lr=0.01, weight_decay=0.1), adamw),
    "adadelta": (Optimizer("adadelta", lr=1.0, rho=0.8, eps=1e-6, weight_decay=0.1), adadelta),
}


@pytest.mark.parametrize("case", CASES)
def test_every_optimizer_follows_its_update_rule_under_a_moving_rate(case):
    spec, rule = CASES[case]
    generator = torch.Generator().manual_seed(1)
    parameter = torch.nn.Parameter(torch.randn(5, 3, generator=generator))
    by_hand, state = parameter.detach().clone().double(), {}
    optimizer = build_optimizer(spec, [{"params": [parameter]}])
    schedule = LrSchedule("cosine", "step", warmup=2)
    for step in range(STEPS):
        gradient = torch.randn(5, 3, generator=generator)
        rate = learning_rate(schedule, spec.lr, step, 3, STEPS)
        set_learning_rate(
            optimizer, lambda base, step=step: learning_rate(schedule, base, step, 3, STEPS)
        )
        assert optimizer.param_groups[0]["lr"] == rate
        parameter.grad = gradient.clone()
        optimizer.step()
        by_hand = rule(by_hand, gradient.double(), state, rate, spec)
    torch.testing.assert_close(parameter.detach().double(), by_hand, rtol=RTOL, atol=RTOL)


def test_groups_keep_their_own_numbers_and_move_from_their_own_rate():
    one, two, three = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = build_optimizer(
        Optimizer("sgd", lr=0.1, weight_decay=0.5),
        [
            {"params": [one]},
            {"params": [two], "lr": 0.4, "weight_decay": 0.0},
            {"params": [three], "lr": 0.7, "constant_lr": True},
            {"params": []},
        ],
    )
    set_learning_rate(optimizer, lambda base: base / 2)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.2, 0.7]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0, 0.5]


def test_rates_survive_saving_and_loading():
    spec = Optimizer("sgd", lr=0.1, momentum=0.9)
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.3}]
    saved = build_optimizer(spec, groups).state_dict()
    optimizer = build_optimizer(spec, [{"params": [torch.nn.Parameter(torch.ones(1))]}])
    optimizer.load_state_dict(saved)
    set_learning_rate(optimizer, lambda base: base)
    assert optimizer.param_groups[0]["lr"] == 0.3


def test_biases_learn_at_their_own_multiple_of_a_moving_rate():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1, bias=False))
    spec = Optimizer("sgd", lr=0.1, bias_lr_factor=2.0)
    optimizer = build_optimizer(spec, usual_groups(model, spec))
    set_learning_rate(optimizer, lambda base: base / 10)
    before = [p.detach().clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = [(b - p).max().item() for b, p in zip(before, model.parameters(), strict=True)]
    assert moved == pytest.approx([0.01, 0.02, 0.01], rel=1e-5)


def test_without_a_factor_all_parameters_share_one_group():
    model = torch.nn.Linear(3, 2)
    (group,) = usual_groups(model, Optimizer("sgd", lr=0.1))
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]
