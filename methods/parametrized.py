"""Base of the methods whose layers compute their weight from a stored one at every use.

The stored weight stays dense; `layer.weight` is the pruned one, in training and evaluation
alike, and anything that reads it (profilers too) sees the zeros.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from methods.base import Method, Schedule
from methods.masked import LayerSettings, chosen_layers
from methods.masks import keep_largest


class WeightRule(nn.Module):
    """Marks the parametrizations of this library: stored weight -> weight in use."""


class ParametrizedMethod(Method):
    """Puts one `WeightRule` on every chosen layer and bakes it in at the end."""

    settings: LayerSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.layers: dict[str, nn.Module] = {}

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self.layers = chosen_layers(model, self.settings)
        for name, layer in self.layers.items():
            assert isinstance(layer.weight, Tensor)
            rule = self.rule(name, layer.weight)
            parametrize.register_parametrization(layer, "weight", rule, unsafe=True)

    def rule(self, name: str, weight: Tensor) -> WeightRule:
        """The rule of one layer."""
        raise TypeError(f"{type(self).__name__} must say how it computes a weight")

    def finalize(self, model: nn.Module) -> nn.Module:
        """`model`, the attached one or a copy of it, as plain layers that store what they used."""
        for layer in list(model.modules()):
            if _rule_of(layer) is not None:
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
                _restore_order(layer)
        return model


def _rule_of(layer: nn.Module) -> WeightRule | None:
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    rule = layer.parametrizations["weight"][0]  # type: ignore[index]
    return rule if isinstance(rule, WeightRule) else None


def _restore_order(layer: nn.Module) -> None:
    """Put weight back in front of bias, where a layer that was never parametrized has it."""
    bias = layer.bias
    assert bias is None or isinstance(bias, nn.Parameter)
    del layer.bias
    layer.register_parameter("bias", bias)


class KeepLargest(WeightRule):
    """The `kept` largest |w| of the stored weight, the rest 0, chosen anew at every use.

    straight_through: the gradient reaches every stored entry (DNW), not only the kept (GMP).
    Ties: the earlier position stays.
    """

    def __init__(self, kept: int, *, straight_through: bool) -> None:
        super().__init__()
        self.kept = kept
        self.straight_through = straight_through

    def forward(self, weight: Tensor) -> Tensor:
        if self.kept == weight.numel():
            return weight
        if self.straight_through:
            return _StraightThrough.apply(weight, self.kept)
        return _largest(weight, self.kept)


def _largest(weight: Tensor, kept: int) -> Tensor:
    return torch.where(keep_largest(weight.detach().abs(), kept), weight, 0)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, kept: int) -> Tensor:
        return _largest(weight, kept)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
