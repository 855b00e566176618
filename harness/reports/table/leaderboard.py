"""Which rows a table shows, and in which order: filters, baselines, old protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from harness.registry import Registry
from harness.reports.table.rows import Row
from harness.results import STATUSES, current

Key = float | tuple[str, ...]
Bounds = tuple[tuple[str, float], ...]  # (figure, its bound) each
_LAST = float("inf")
FIGURES: dict[str, Callable[[Row], float | None]] = {  # what can be bounded, as measured
    "top1": lambda r: r.measured_top1_pct,
    "delta": lambda r: None if r.delta_pp is None else abs(r.delta_pp),
    "sparsity": lambda r: r.sparsity_pct,
    "macs": lambda r: r.macs_effective,
    "params": lambda r: r.params_nnz,
    "size": lambda r: r.size_bytes,
    "latency": lambda r: r.dense_ms_p50 if r.fastest_ms_p50 is None else r.fastest_ms_p50,
    "n": lambda r: r.n_images or None,
}
FILTERS = ("dataset", "model", "method", "paper", "verdict")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to keep: values per field of a row, of which an empty tuple keeps everything, and bounds
    of FIGURES, which a row without that figure does not keep.
    """

    dataset: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    paper: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    least: Bounds = field(default=(), kw_only=True)
    most: Bounds = field(default=(), kw_only=True)

    @property
    def filters(self) -> dict[str, tuple[str, ...]]:
        """The values to keep of every field that is filtered."""
        return {name: values for name in FILTERS if (values := getattr(self, name))}

    @property
    def alone(self) -> bool:
        """Whether baselines that the filters leave out stay out: they would answer a question about
        verdicts or bounds wrongly.
        """
        return bool(self.verdict or self.least or self.most)

    def keeps(self, row: Row) -> bool:
        """True if `row` has one of the values of every filter, and is within the bounds."""
        return (
            all(getattr(row, name) in values for name, values in self.filters.items())
            and all(_within(row, name, bound, 1) for name, bound in self.least)
            and all(_within(row, name, bound, -1) for name, bound in self.most)
        )


def _within(row: Row, name: str, bound: float, side: int) -> bool:
    value = FIGURES[name](row)
    return value is not None and side * value >= side * bound


def _descending(value: float | None) -> float:
    return _LAST if value is None else -value


def _ascending(name: str) -> Callable[[Row], Key]:
    def key(row: Row) -> Key:
        value = FIGURES[name](row)
        return _LAST if value is None else float(value)

    return key


SORTS: dict[str, Callable[[Row], Key]] = {  # within equals: by name
    "entry": lambda r: (),
    "dataset": lambda r: (r.dataset, r.model),
    "top1": lambda r: _descending(r.measured_top1_pct),
    "delta": lambda r: _descending(FIGURES["delta"](r)),
    "sparsity": lambda r: _descending(r.sparsity_pct),
    "macs": _ascending("macs"),
    "params": _ascending("params"),
    "size": _ascending("size"),
    "latency": _ascending("latency"),
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
    from what was published first), macs, params, size, latency (least first), date (newest first)
    or verdict (worst first).
    Baselines of what is shown come along even if a filter left them out, other than `verdict` and
    bounds. In the orders by name they stand below the rows they belong to.
    """
    wanted = wanted or Wanted()
    newest = [
        _in_context(row if row.entry == id else replace(row, entry=id), registry)
        for (id, _), row in current.per_mode(rows, registry.aliases).items()
    ]
    kept = [row for row in newest if wanted.keeps(row)]
    order = SORTS[sort]

    def place(row: Row) -> tuple[Key, str, bool]:
        return order(row), row.entry, row.retrained_top1_pct is not None

    shown = sorted(kept, key=place)
    if limit is not None:
        shown = shown[:limit]
    if not wanted.alone:
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
