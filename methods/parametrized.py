"""Base of the methods whose layers compute their weight from a stored one at every use.

The stored weight stays dense; `layer.weight` is the pruned one, in training and evaluation
alike, and anything that reads it (profilers too) sees the zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from methods.base import Method, Schedule
from methods.inventory import Weight
from methods.masked import LayerSettings, chosen_weights
from methods.masks import keep_largest


class WeightRule(nn.Module):
    """Marks the parametrizations of this library: stored weight -> weight in use.

    place: where the owner keeps the parameter among its own, so that it can be put back there.
    """

    place: int = 0


class RowRules(WeightRule):
    """Rules for some rows of a weight, in ascending order; the other rows are used as stored."""

    def __init__(self, rules: Sequence[tuple[tuple[int, int], WeightRule]]) -> None:
        super().__init__()
        self.rows = [rows for rows, _ in rules]
        self.rules = nn.ModuleList(rule for _, rule in rules)

    def forward(self, weight: Tensor) -> Tensor:
        pieces, done = [], 0
        for (first, end), rule in zip(self.rows, self.rules, strict=True):
            pieces += [weight[done:first], rule(weight[first:end])]
            done = end
        return torch.cat([*pieces, weight[done:]])


class ParametrizedMethod(Method):
    """Puts one `WeightRule` on every chosen weight and bakes it in at the end."""

    settings: LayerSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.rules: dict[str, WeightRule] = {}  # of each chosen weight

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        weights = chosen_weights(model, self.settings)
        for name, weight in weights.items():
            if weight.computed or any(map(parametrize.is_parametrized, _owners(weight))):
                raise ValueError(
                    f"layer {name!r} is parametrized already; finalize the model, or remove its "
                    "parametrizations, before attaching another method"
                )
        self.rules = {name: self.rule(name, weight.stored) for name, weight in weights.items()}
        found = [(self._whole(pieces), pieces[0].places) for pieces in _by_parameter(weights)]
        for rule, places in found:
            rule.place = list(places[0].owner._parameters).index(places[0].attribute)
        for rule, places in found:
            # A tied weight has one rule in all its places, as it has one parameter.
            for at in places:
                parametrize.register_parametrization(at.owner, at.attribute, rule, unsafe=True)

    def rule(self, name: str, weight: Tensor) -> WeightRule:
        """The rule of one weight."""
        raise TypeError(f"{type(self).__name__} must say how it computes a weight")

    def _whole(self, pieces: Sequence[Weight]) -> WeightRule:
        if pieces[0].rows is None:
            return self.rules[pieces[0].name]
        return RowRules([(piece.rows, self.rules[piece.name]) for piece in pieces if piece.rows])

    def finalize(self, model: nn.Module) -> nn.Module:
        """`model`, the attached one or a copy of it, as plain layers that store what they used."""
        layers = [layer for layer in model.modules() if _ours(layer)]
        with torch.no_grad():
            used = [
                {name: getattr(layer, name).detach() for name in _ours(layer)} for layer in layers
            ]
        for layer, weights in zip(layers, used, strict=True):
            _bake(layer, weights)
        return model


def _owners(weight: Weight) -> list[nn.Module]:
    return [place.owner for place in weight.places]


def _by_parameter(weights: Mapping[str, Weight]) -> list[list[Weight]]:
    """Weights that are rows of one parameter together, in order."""
    found: dict[int, list[Weight]] = {}
    for weight in weights.values():
        found.setdefault(id(weight.parameter), []).append(weight)
    return list(found.values())


def _ours(layer: nn.Module) -> dict[str, WeightRule]:
    """Attributes of `layer` that one of our rules computes."""
    if not parametrize.is_parametrized(layer):
        return {}
    lists = cast(nn.ModuleDict, layer.parametrizations)
    first = {name: cast(nn.ModuleList, rules)[0] for name, rules in lists.items()}
    return {name: rule for name, rule in first.items() if isinstance(rule, WeightRule)}


def _bake(layer: nn.Module, used: Mapping[str, Tensor]) -> None:
    """Make the weights in use the stored ones, under their plain names and in their old places.

    Not `remove_parametrizations`: a copied model shares its injected classes with the original,
    and that function strips the class, which would break the model still in training.
    """
    rules, own = _ours(layer), layer._parameters
    kept = list(own.items())
    for name in sorted(rules, key=lambda name: rules[name].place):
        stored = cast(Any, layer.parametrizations)[name].original
        stored.data = used[name]
        kept.insert(rules[name].place, (name, stored))
    layer.__class__ = type(layer).__bases__[0]  # the class the injected one derives from
    del layer.parametrizations
    own.clear()
    own.update(kept)


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
