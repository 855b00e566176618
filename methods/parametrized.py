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
            if parametrize.is_parametrized(layer):
                raise ValueError(
                    f"layer {name!r} is parametrized already; finalize the model, or remove its "
                    "parametrizations, before attaching another method"
                )
            assert isinstance(layer.weight, Tensor)
            rule = self.rule(name, layer.weight)
            parametrize.register_parametrization(layer, "weight", rule, unsafe=True)

    def rule(self, name: str, weight: Tensor) -> WeightRule:
        """The rule of one layer."""
        raise TypeError(f"{type(self).__name__} must say how it computes a weight")

    def finalize(self, model: nn.Module) -> nn.Module:
        """`model`, the attached one or a copy of it, as plain layers that store what they used."""
        for layer in list(model.modules()):
            if _is_ours(layer):
                _bake(layer)
        return model


def _is_ours(layer: nn.Module) -> bool:
    if not parametrize.is_parametrized(layer, "weight"):
        return False
    return isinstance(layer.parametrizations["weight"][0], WeightRule)  # type: ignore[index]


def _bake(layer: nn.Module) -> None:
    """Make the weight in use the stored one, under its plain name and again the first parameter.

    Not `remove_parametrizations`: a copied model shares its injected classes with the original,
    and that function strips the class, which would break the model still in training.
    """
    held = layer.parametrizations["weight"].original  # type: ignore[index,union-attr]
    assert isinstance(held, nn.Parameter)
    assert isinstance(layer.weight, Tensor)
    held.data = layer.weight.detach()
    layer.__class__ = type(layer).__bases__[0]  # the class the injected one derives from
    del layer.parametrizations
    others = list(layer.named_parameters(recurse=False))
    for name, _ in others:
        delattr(layer, name)
    for name, parameter in (("weight", held), *others):
        layer.register_parameter(name, parameter)


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
