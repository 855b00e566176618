"""Published rows that nobody has measured yet, as lines of the same table."""

from __future__ import annotations

from collections.abc import Sequence

from harness.registry import Entry, Registry
from harness.reports.papers.published_figures import published_figures
from harness.reports.table.rows import Row
from harness.results import FigureStatus

NOT_MEASURED = "not measured"  # stands where a verdict would


def with_unmeasured(rows: Sequence[Row], registry: Registry) -> list[Row]:
    """`rows`, and one row per entry of `registry` that none of them measured.

    Of these, top-1 and sparsity are digits as printed; what only a measurement tells is None or 0.
    The note says what the measurement waits for.
    """
    measured = {registry.aliases.get(row.entry, row.entry) for row in rows if row.paper is not None}
    waiting = [entry for entry in registry.entries.values() if entry.id not in measured]
    figures = published_figures(registry, waiting, results=())
    return [*rows, *(_row(entry, registry, figures[entry.id]) for entry in waiting)]


def _row(entry: Entry, registry: Registry, figures: tuple[FigureStatus, ...]) -> Row:
    evaluation = registry.evaluation(entry)
    sparsity = entry.published.get("sparsity_pct")
    return Row(
        entry=entry.id,
        paper=entry.paper,
        method=entry.method,
        model=entry.model,
        dataset=entry.dataset,
        granularity=entry.granularity,
        mode="published",
        published_top1_pct=None if entry.top1 is None else entry.top1.text,
        evaluated_top1_pct=None,
        retrained_top1_pct=None,
        retrained_std_pp=None,
        n_seeds=None,
        delta_pp=None,
        sparsity_pct=None,
        weights_nnz=None,
        weights_total=None,
        macs_effective=None,
        macs_dense=None,
        reported_reduction_pct=None,
        strict_reduction_pct=None,
        dense_ms_p50=None,
        fastest_ms_p50=None,
        n_images=0,
        verdict=NOT_MEASURED,
        about="",
        reason=_reason(figures),
        smoke="",
        note=f"{NOT_MEASURED}, as printed: {_reason(figures)}",
        protocol=evaluation.name,
        protocol_version=evaluation.version,
        date="",
        result_id="",
        published_sparsity_pct=None if sparsity is None else sparsity.text,
    )


def _reason(figures: tuple[FigureStatus, ...]) -> str:
    """What the accuracy waits for; of a row without one, its first figure."""
    about = [f for f in figures if f.figure.startswith("top1")] or list(figures)
    return about[0].reason if about else "no figure of it is printed"
