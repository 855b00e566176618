"""Printed figures that need no file: the networks are built, nothing is downloaded or run."""

from __future__ import annotations

from collections.abc import Iterable

from harness.checkpoints import build_model
from harness.errors import MetricError
from harness.profile import measure_cost
from harness.registry import Entry, Registry, input_shape
from harness.results import (
    REMOVED,
    Comparison,
    Cost,
    asks_architecture,
    of_architecture,
    of_baseline,
    of_printed,
)
from harness.system import Progress, Silent
from methods.inventory import prunable_weights


def derived_figures(
    registry: Registry, entries: Iterable[Entry] | None = None, progress: Progress | None = None
) -> dict[str, dict[str, Comparison]]:
    """Entry id -> figure -> comparison with what follows without any weights.

    entries: of which; None = all of the registry. Entries of which nothing follows are left out.
    """
    costs: dict[tuple[object, ...], Cost | None] = {}
    found = {}
    chosen = list(registry.entries.values()) if entries is None else list(entries)
    (progress or Silent()).stage("figures that follow from the architecture", total=len(chosen))
    for entry in chosen:
        derived = of_printed(entry.published)
        if asks_architecture(entry):
            dense = _known_cost(entry, registry, costs)
            if dense is not None:
                derived |= of_architecture(entry, registry.settings_of(entry), dense)
        if REMOVED in entry.published and entry.baseline is not None:
            own = _known_cost(entry, registry, costs)
            whole = _known_cost(registry.entries[entry.baseline], registry, costs)
            if own is not None and whole is not None:
                derived |= of_baseline(entry, own, whole)
        if derived:
            found[entry.id] = derived
        (progress or Silent()).advance(1)
    return found


def _known_cost(
    entry: Entry, registry: Registry, costs: dict[tuple[object, ...], Cost | None]
) -> Cost | None:
    """What `dense_cost` finds, once for all entries of one network. costs: found so far."""
    key = _key(entry, registry)
    if key not in costs:
        costs[key] = dense_cost(entry, registry)
    return costs[key]


def dense_cost(entry: Entry, registry: Registry) -> Cost | None:
    """What the entry's network costs with every weight in place, in its paper's convention.

    None where its multiply-accumulates cannot be counted.
    """
    import torch

    model = build_model(entry)
    with torch.no_grad():
        for weight in prunable_weights(model).values():
            weight.stored.fill_(1.0)  # fresh weights may be zero
    shape = input_shape(registry.evaluations[entry.evaluation])
    convention = registry.convention_of(entry)
    try:
        return measure_cost(model, shape, convention, entry.prunable_exclude, judged=True)
    except MetricError:
        return None


def _key(entry: Entry, registry: Registry) -> tuple[object, ...]:
    shape = input_shape(registry.evaluations[entry.evaluation])
    convention = registry.convention_of(entry)
    return entry.model, entry.dataset, shape, convention, entry.prunable_exclude
