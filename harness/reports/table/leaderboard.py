"""Which rows a table shows, and in which order: filters, baselines, old protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace

from harness.registry import Registry
from harness.reports.table.rows import Row
from harness.results import STATUSES, current

Key = float | tuple[str, ...]
_LAST = float("inf")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Values to keep, per field of a row; an empty tuple keeps everything."""

    dataset: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    paper: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()

    def keeps(self, row: Row) -> bool:
        """True if `row` has one of the values of every filter."""
        return all(
            not values or getattr(row, name) in values
            for name, values in ((f.name, getattr(self, f.name)) for f in fields(self))
        )


def _descending(value: float | None) -> float:
    return _LAST if value is None else -value


SORTS: dict[str, Callable[[Row], Key]] = {  # within equals: by name
    "entry": lambda r: (),
    "dataset": lambda r: (r.dataset, r.model),
    "top1": lambda r: _descending(r.measured_top1_pct),
    "delta": lambda r: _descending(None if r.delta_pp is None else abs(r.delta_pp)),
    "sparsity": lambda r: _descending(r.sparsity_pct),
    "macs": lambda r: _LAST if r.macs_effective is None else float(r.macs_effective),
    "date": lambda r: -float(r.date.replace("-", "")) if r.date else _LAST,
    "verdict": lambda r: -float(STATUSES.index(r.verdict)) if r.verdict in STATUSES else _LAST,
}
GROUPED = ("entry", "dataset")  # orders in which a baseline stands below the rows it belongs to


def leaderboard(
    rows: Iterable[Row],
    registry: Registry,
    wanted: Wanted | None = None,
    *,
    sort: str = "entry",
    limit: int | None = None,
) -> list[Row]:
    """The newest row per entry and way of measuring that `wanted` keeps, at most `limit`.

    sort: entry (by name), dataset (then model), top1, sparsity (highest first), delta (furthest
    from what was published first), macs (fewest first), date (newest first) or verdict (worst
    first).
    Baselines of what is shown come along even if a filter other than `verdict` left them out. In
    the orders by name they stand below the rows they belong to.
    """
    wanted = wanted or Wanted()
    newest = [
        _in_context(replace(row, entry=id), registry)
        for (id, _), row in current.per_mode(rows, registry.aliases).items()
    ]
    kept = [row for row in newest if wanted.keeps(row)]
    order = SORTS[sort]

    def place(row: Row) -> tuple[Key, str, bool]:
        return order(row), row.entry, row.retrained_top1_pct is not None

    shown = sorted(kept, key=place)
    if limit is not None:
        shown = shown[:limit]
    if not wanted.verdict:
        needed = {row.baseline for row in shown} - {row.entry for row in shown}
        shown += [replace(row, is_baseline=True) for row in newest if row.entry in needed]
    return _grouped(shown, place) if sort in GROUPED else sorted(shown, key=place)


def _in_context(row: Row, registry: Registry) -> Row:
    """`row` with what the registry knows: its baseline, and whether its protocol is old."""
    entry = None if row.paper is None else registry.entries.get(row.entry)
    evaluation = registry.evaluations.get(row.protocol)
    outdated = evaluation is not None and row.protocol_version < evaluation.version
    baseline = entry.baseline if entry else None
    if not outdated and baseline is None:
        return row
    note = row.note
    if evaluation is not None and outdated:
        old = f"measured by {row.protocol} v{row.protocol_version}; now v{evaluation.version}"
        note = f"{note}; {old}" if note else old
    return replace(row, outdated=outdated, baseline=baseline, note=note)


def _grouped(rows: Sequence[Row], place: Callable[[Row], tuple[Key, str, bool]]) -> list[Row]:
    """Rows in order, except that a baseline follows the last row it belongs to, marked as such."""
    names = {row.baseline for row in rows if row.baseline and row.baseline != row.entry}
    groups: dict[str, list[Row]] = {}
    for row in sorted((r for r in rows if r.entry not in names), key=place):
        groups.setdefault(row.baseline or row.entry, []).append(row)
    for row in sorted((r for r in rows if r.entry in names), key=place):
        groups.setdefault(row.entry, []).append(replace(row, is_baseline=True))
    return [row for group in groups.values() for row in group]
