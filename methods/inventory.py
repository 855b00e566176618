"""The one list of a network's weights: what is counted, pruned, timed and exported everywhere.

A weight is a parameter that activations are multiplied by: kernels of convolutions, matrices of
linear layers, the fused projections of attention, recurrent matrices, and banks of kernels that
are mixed image by image. It is recognised by the kind of module that owns it; in modules of
unknown kinds, by the name `weight` and two or more dimensions. Everything else (biases, norms,
embeddings, tables of positions) is listed beside it, with its size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, instancenorm
from torch.nn.utils import parametrize

from methods.attached_modules import AttachedModule
from methods.effective_weight import effective_weight

Kind = Literal["conv", "conv_transpose", "linear", "attention", "recurrent", "bank"]
Other = Literal["bias", "norm", "embedding", "table", "vector", "addition"]

_KINDS: tuple[tuple[type[nn.Module], Kind], ...] = (
    (conv._ConvTransposeNd, "conv_transpose"),
    (conv._ConvNd, "conv"),
    (nn.Linear, "linear"),
    (nn.MultiheadAttention, "attention"),
    (nn.RNNBase, "recurrent"),
)
_NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    batchnorm._NormBase,
    instancenorm._InstanceNorm,
)
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_FUSED = "in_proj_weight"  # rows of queries, keys and values, one third each
_FUSED_PARTS = ("q", "k", "v")


@dataclass(frozen=True, slots=True, eq=False)
class WeightPlace:
    """An attribute of a module that is a weight. stored: the parameter that is trained."""

    path: str  # of the owner in the model
    owner: nn.Module
    attribute: str  # "weight", "in_proj_weight", ...
    stored: nn.Parameter

    @property
    def name(self) -> str:
        """The owner's path for its `weight`, else path and attribute without `_weight`."""
        if self.attribute == "weight":
            return self.path
        return f"{self.path}.{self.attribute.removesuffix('_weight')}".removeprefix(".")

    @property
    def computed(self) -> bool:
        """Whether the attribute is worked out from `stored` (a parametrization, a pruning hook)."""
        return getattr(self.owner, self.attribute) is not self.stored


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """One weight of a network, or some rows of one. Tied weights are one, in several places."""

    name: str
    kind: Kind
    places: tuple[WeightPlace, ...]
    parts: tuple[str, ...] = ()  # names of equal shares of the rows, which patterns may choose
    rows: tuple[int, int] | None = None  # first and one after the last; None = all

    @property
    def owner(self) -> nn.Module:
        return self.places[0].owner

    @property
    def parameter(self) -> nn.Parameter:
        """What the optimizer moves, all rows of it."""
        return self.places[0].stored

    @property
    def stored(self) -> Tensor:
        """The stored weight: the parameter itself, or a view of the rows."""
        return self.take(self.parameter)

    @property
    def used(self) -> Tensor:
        """What activations are multiplied by: after masks, parametrizations, standardisation."""
        place = self.places[0]
        return self.take(effective_weight(place.owner, place.attribute))

    @property
    def aliases(self) -> tuple[str, ...]:
        """The other names of a tied weight."""
        return tuple(place.name for place in self.places[1:])

    @property
    def computed(self) -> bool:
        return any(place.computed for place in self.places)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stored.shape)

    def numel(self) -> int:
        return self.stored.numel()

    def take(self, whole: Tensor) -> Tensor:
        """This weight's rows of a tensor shaped like the parameter."""
        return whole if self.rows is None else whole[slice(*self.rows)]

    def within(self, model: nn.Module) -> Weight:
        """The same weight of a copy of its network."""
        places = []
        for place in self.places:
            owner = model.get_submodule(place.path)
            stored = dict(_attributes(owner))[place.attribute]
            places.append(replace(place, owner=owner, stored=stored))
        return replace(self, places=tuple(places))

    def pieces(self) -> Iterator[Weight]:
        """The parts, each a weight of its own; the weight itself if it has none."""
        if not self.parts:
            yield self
        height = len(self.parameter) // max(len(self.parts), 1)
        for i, part in enumerate(self.parts):
            rows = (i * height, (i + 1) * height)
            yield replace(self, name=f"{self.name}.{part}", parts=(), rows=rows)


@dataclass(frozen=True, slots=True)
class Outside:
    """A parameter that is no weight."""

    name: str
    kind: Other
    size: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every parameter of a network: the weights, and the rest with its size."""

    weights: tuple[Weight, ...]  # in registration order
    outside: tuple[Outside, ...]

    @property
    def named(self) -> dict[str, Weight]:
        return {weight.name: weight for weight in self.weights}

    def select(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> dict[str, Weight]:
        """Weights whose names match `include` (all if empty) and not `exclude`: name -> weight.

        Patterns are shell globs ("layer1.*", "*downsample*", "fc", "*.in_proj.v"); all names of a
        tied weight count. Of a fused projection they may choose parts.
        Raises ValueError naming a pattern that matches nothing.
        """
        include, exclude = tuple(include), tuple(exclude)
        names = [name for weight in self.weights for name in _names(weight)]
        for pattern in (*include, *exclude):
            if not any(fnmatchcase(name, pattern) for name in names):
                known = ", ".join(names[:6])
                raise ValueError(f"pattern {pattern!r} matches no weight; weights: {known}, ...")
        chosen = {}
        for weight in self.weights:
            pieces = list(weight.pieces())
            kept = [p for p in pieces if _wanted(_names(weight, p), include or ("*",), exclude)]
            chosen.update({p.name: p for p in ([weight] if len(kept) == len(pieces) else kept)})
        return chosen

    def left_out(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> tuple[str, ...]:
        """Names of the weights, or parts of one, that `select` leaves out."""
        chosen = self.select(include, exclude)
        return tuple(
            name
            for weight in self.weights
            if weight.name not in chosen
            for name in _unless_all([piece.name for piece in weight.pieces()], chosen, weight.name)
        )


def inventory(model: nn.Module) -> Inventory:
    """The weights of `model` in registration order, and all its other parameters."""
    places: dict[int, list[WeightPlace]] = {}
    kinds: dict[int, Kind] = {}
    for path, owner in _own_modules(model):
        for attribute, stored in _attributes(owner):
            kind = _kind(owner, attribute, stored)
            if kind is not None:
                places.setdefault(id(stored), []).append(
                    WeightPlace(path, owner, attribute, stored)
                )
                kinds.setdefault(id(stored), kind)
    weights = tuple(
        Weight(at[0].name, kinds[key], tuple(at), _FUSED_PARTS if at[0].attribute == _FUSED else ())
        for key, at in places.items()
    )
    return Inventory(weights, tuple(_outside(model, places)))


def prunable_weights(model: nn.Module) -> dict[str, Weight]:
    """Every weight of `model` in registration order: name -> weight."""
    return inventory(model).named


def over_parameters(
    weights: Mapping[str, Weight], masks: Mapping[str, Tensor]
) -> list[tuple[nn.Parameter, Tensor]]:
    """Masks of weights as masks of whole parameters, True in rows that no weight covers."""
    merged: dict[int, tuple[nn.Parameter, Tensor]] = {}
    for name, mask in masks.items():
        weight = weights[name]
        if weight.rows is None:
            merged[id(weight.parameter)] = (weight.parameter, mask)
            continue
        full = torch.ones_like(weight.parameter, dtype=torch.bool, requires_grad=False)
        parameter, whole = merged.setdefault(id(weight.parameter), (weight.parameter, full))
        weight.take(whole).copy_(mask)
    return list(merged.values())


def _own_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module under every name, without attached modules and without what computes weights."""
    hidden = [
        f"{path}."
        for path, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, AttachedModule | parametrize.ParametrizationList)
    ]
    for path, module in model.named_modules(remove_duplicate=False):
        if not f"{path}.".startswith(tuple(hidden)):
            yield path, module


def _attributes(owner: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Attributes of `owner` that are parameters or worked out from one, and that parameter."""
    if parametrize.is_parametrized(owner):
        for attribute, rules in owner.parametrizations.items():  # type: ignore[operator,union-attr]
            shape = getattr(owner, attribute).shape
            stored = list(rules.parameters(recurse=False))
            yield attribute, next((p for p in stored if p.shape == shape), *stored[:1])
    for name, parameter in owner._parameters.items():
        if parameter is not None:
            yield _computed_name(owner, name), parameter


def _computed_name(owner: nn.Module, name: str) -> str:
    """`weight` for the `weight_orig` or `weight_v` that torch's hooks work it out from."""
    for suffix in ("_orig", "_v"):
        plain = name.removesuffix(suffix)
        if plain != name and isinstance(vars(owner).get(plain), Tensor):
            return plain
    return name


def _kind(owner: nn.Module, attribute: str, stored: Tensor) -> Kind | None:
    if isinstance(stored, nn.parameter.UninitializedParameter) or stored.dim() < 2:
        return None
    if "weight" not in attribute or isinstance(owner, _NORMS + _EMBEDDINGS):
        return None
    for base, kind in _KINDS:
        if isinstance(owner, base):
            return kind
    return "bank" if sum(size > 1 for size in stored.shape) > 1 else None


def _names(weight: Weight, *pieces: Weight) -> list[str]:
    """Every name of a weight; with `pieces`, those and no other parts."""
    whole = [weight.name, *weight.aliases]
    ends = {piece.name.removeprefix(weight.name) for piece in pieces or weight.pieces()} - {""}
    return [*whole, *(name + end for name in whole for end in sorted(ends))]


def _unless_all(pieces: list[str], chosen: Mapping[str, Weight], whole: str) -> list[str]:
    """The pieces that are not chosen; the whole when none is."""
    rest = [piece for piece in pieces if piece not in chosen]
    return [whole] if rest == pieces else rest


def _wanted(names: list[str], include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    def match(patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    return match(include) and not match(exclude)


def _outside(model: nn.Module, weights: Mapping[int, list[WeightPlace]]) -> Iterator[Outside]:
    added = [
        {id(parameter) for parameter in module.parameters()}
        for module in model.modules()
        if isinstance(module, AttachedModule)
    ]
    for name, parameter in model.named_parameters():
        if id(parameter) not in weights:
            path, _, last = name.rpartition(".")
            inside = any(id(parameter) in part for part in added)
            owner = model.get_submodule(path)
            yield Outside(
                name, "addition" if inside else _other(owner, last, parameter), parameter.numel()
            )


def _other(owner: nn.Module, name: str, parameter: Tensor) -> Other:
    if isinstance(owner, _NORMS):
        return "norm"
    if isinstance(owner, _EMBEDDINGS):
        return "embedding"
    if "bias" in name and parameter.dim() < 2:
        return "bias"
    return "table" if sum(size > 1 for size in parameter.shape) > 1 else "vector"
