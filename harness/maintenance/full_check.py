"""Every printed figure that needs no weights, derived: for `bench registry check --full`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from harness import paths
from harness.evaluation import derived_figures
from harness.maintenance.printed_arithmetic import Shape, impossible_figures
from harness.profile import dense_macs
from harness.registry import Entry, Registry, data_set, entry_sha256, input_shape
from harness.reports import (
    DerivedFigure,
    count_claims,
    errata_file,
    save_derived,
    write_errata,
)
from harness.results import INCONSISTENT, Comparison, judge_count, not_judged
from harness.system import Progress, Silent
from methods import budgets
from methods.inventory import prunable_weights

BUDGET_FILES = {"resnet50": "str_budgets/STR_Budgets_ResNet50.csv"}  # below the data root
ARCHITECTURE, BUDGET = "architecture and printed figures", "published budget file"


def derive(
    registry: Registry,
    entries: Iterable[Entry] | None = None,
    data_root: Path | None = None,
    progress: Progress | None = None,
) -> list[DerivedFigure]:
    """One judgement per figure and rule, in the order of the registry.

    entries: of which; None = all. data_root: where the STR authors' budget files are looked for.
    Networks are built on the CPU, one at a time; nothing is downloaded.
    """
    bars = progress or Silent()
    chosen = list(registry.entries.values()) if entries is None else list(entries)
    architecture = derived_figures(registry, chosen, bars)
    shapes: dict[tuple[str, ...], Shape] = {}
    bars.stage("printed figures against each other", total=len(chosen))
    found = []
    for entry in chosen:
        key = (entry.model, entry.dataset, entry.evaluation)
        if key not in shapes:
            shapes[key] = _shape(entry, registry)
        found += [
            _figure(entry, name, ARCHITECTURE, comparison)
            for name, comparison in architecture.get(entry.id, {}).items()
        ]
        found += [
            _figure(entry, name, BUDGET, comparison)
            for name, comparison in _of_budget(entry, shapes[key], data_root)
        ]
        found += [
            _figure(entry, item.figure, item.kind, item.comparison)
            for item in impossible_figures(entry, registry, shapes[key])
        ]
        bars.advance()
    return found


def record_derived(registry: Registry, figures: Iterable[DerivedFigure]) -> None:
    """Keep what was derived of all entries, and write the errata page anew."""
    save_derived(figures)
    write_errata(registry, count_claims(registry), errata_file())


def _figure(entry: Entry, name: str, kind: str, comparison: Comparison) -> DerivedFigure:
    return DerivedFigure(entry.id, entry_sha256(entry), name, kind, comparison)


def _shape(entry: Entry, registry: Registry) -> Shape:
    from torch import nn

    from harness.models import build

    known = data_set(entry.dataset)
    model = build(entry.model, num_classes=known.classes, in_channels=known.channels)
    depthwise = tuple(
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
    )
    shape = input_shape(registry.evaluations[entry.evaluation])
    asked = bool(depthwise) or entry.model in BUDGET_FILES
    return Shape(
        params=sum(p.numel() for p in model.parameters()),
        weights={name: weight.numel() for name, weight in prunable_weights(model).items()},
        macs=dense_macs(model, shape).per_layer if asked else {},
        depthwise=depthwise,
    )


def _of_budget(
    entry: Entry, shape: Shape, data_root: Path | None
) -> Iterator[tuple[str, Comparison]]:
    """What the layer budget that the authors published for a row's sparsity amounts to."""
    claim = entry.published.get("sparsity_pct")
    file = paths.data_root(data_root) / BUDGET_FILES.get(entry.model, "")
    if entry.method != "str" or claim is None or not file.is_file():
        return
    try:
        budget = budgets.from_csv(file, claim.text)
    except ValueError:
        return  # the file has no column for this row
    kept = _kept(budget, shape.weights)
    total = sum(shape.weights.values())
    values = {
        "sparsity_pct": 100 * (1 - sum(kept.values()) / total),
        "params_millions": sum(kept.values()) / 1e6,
        "flops_millions": sum(
            shape.macs[name] * kept[name] / size for name, size in shape.weights.items()
        )
        / 1e6,
    }
    for name, value in values.items():
        published = entry.published.get(name)
        if published is not None:
            judged = judge_count(published, value)
            status = judged.status if judged.status != "mismatch" else INCONSISTENT
            reason = f"by the budget file {value:.4g}: {judged.reason}"
            yield name, not_judged(published, value, status, reason)


def _kept(budget: Mapping[str, int | float], weights: Mapping[str, int]) -> dict[str, float]:
    """Layer -> weights left, not rounded: the budget prints two decimals of a percentage."""
    return {name: (1 - float(budget.get(name, 0.0))) * size for name, size in weights.items()}
