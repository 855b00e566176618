"""Facts of the registry that can be recomputed: every network is built, nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.errors import RegistryError
from harness.registry import Entry, Registry, data_set

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One network of the registry, as its data set's classes and channels shape it."""

    model: str
    dataset: str
    params: int  # all parameters, norms and biases included
    weights: int  # conv and linear weights
    entries: int  # how many entries use it


def recompute_models(
    registry: Registry, entries: Iterable[Entry] | None = None
) -> list[ModelFacts]:
    """One row per (model, data set) in registry order; weights are never allocated.

    entries: of which; None = all of the registry.
    Raises RegistryError naming the entry whose network cannot be built, or whose layer pattern
    (prunable_exclude) matches no layer.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in registry.entries.values() if entries is None else entries:
        groups.setdefault((entry.model, entry.dataset), []).append(entry)
    return [_facts(entries) for entries in groups.values()]


def _facts(entries: list[Entry]) -> ModelFacts:
    first = entries[0]
    model = _built(first)
    layers = _layers(model)
    for entry in entries:
        _require_matches(entry, layers)
    return ModelFacts(
        model=first.model,
        dataset=first.dataset,
        params=sum(p.numel() for p in model.parameters()),
        weights=sum(layers.values()),
        entries=len(entries),
    )


def _built(entry: Entry) -> nn.Module:
    import torch

    from harness.models import build

    shape = data_set(entry.dataset)
    try:
        with torch.device("meta"):
            return build(entry.model, num_classes=shape.classes, in_channels=shape.channels)
    except Exception as error:  # builders of three libraries, each with its own errors
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"{entry.id}: model {entry.model!r} cannot be built for {entry.dataset}: {reason}"
        raise RegistryError(msg) from error


def _layers(model: nn.Module) -> dict[str, int]:
    """Weights of the inventory -> number of values."""
    from methods.inventory import prunable_weights

    return {name: weight.numel() for name, weight in prunable_weights(model).items()}


def _require_matches(entry: Entry, layers: Iterable[str]) -> None:
    for pattern in entry.prunable_exclude:
        if not any(fnmatchcase(name, pattern) for name in layers):
            msg = f"{entry.id}: prunable_exclude {pattern!r} matches no layer of {entry.model}"
            raise RegistryError(msg)
