"""Optimizers from recipes: the numbers are the paper's, the kernels are the fastest torch has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from harness.registry import Optimizer

Groups = Sequence[dict[str, Any]]


def build_optimizer(spec: Optimizer, groups: Groups) -> torch.optim.Optimizer:
    """The torch optimizer of a recipe over parameter groups.

    A group may override any number. Its own "lr" is the base rate that the schedule moves;
    "constant_lr": True keeps the rate where it is.
    """
    copies = [{"base_lr": group.get("lr", spec.lr), **group} for group in groups if group["params"]]
    return _BUILDERS[spec.name](spec, copies)


def usual_groups(model: torch.nn.Module, spec: Optimizer) -> Groups:
    """Every parameter of `model` in one group, or the biases in one of their own at their rate."""
    if spec.bias_lr_factor == 1.0:
        return [{"params": list(model.parameters())}]
    named = list(model.named_parameters())
    biases = [parameter for name, parameter in named if name.endswith("bias")]
    others = [parameter for name, parameter in named if not name.endswith("bias")]
    return [{"params": others}, {"params": biases, "lr": spec.bias_lr_factor * spec.lr}]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate_of: Callable[[float], float]) -> None:
    """Give every group but the constant ones the rate that `rate_of` makes of its base rate."""
    for group in optimizer.param_groups:
        if not group.get("constant_lr", False):
            group["lr"] = rate_of(group["base_lr"])


def _sgd(spec: Optimizer, groups: Groups) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups,
        lr=spec.lr,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
        fused=True,
    )


def _adam(spec: Optimizer, groups: Groups) -> torch.optim.Optimizer:
    numbers: dict[str, Any] = {"lr": spec.lr, "betas": spec.betas, "eps": spec.eps}
    return torch.optim.Adam(groups, **numbers, weight_decay=spec.weight_decay, fused=True)


def _adamw(spec: Optimizer, groups: Groups) -> torch.optim.Optimizer:
    numbers: dict[str, Any] = {"lr": spec.lr, "betas": spec.betas, "eps": spec.eps}
    return torch.optim.AdamW(groups, **numbers, weight_decay=spec.weight_decay, fused=True)


def _adadelta(spec: Optimizer, groups: Groups) -> torch.optim.Optimizer:
    numbers: dict[str, Any] = {"lr": spec.lr, "rho": spec.rho, "eps": spec.eps}
    return torch.optim.Adadelta(groups, **numbers, weight_decay=spec.weight_decay, foreach=True)


_BUILDERS: dict[str, Callable[[Optimizer, Groups], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "adadelta": _adadelta,
}
