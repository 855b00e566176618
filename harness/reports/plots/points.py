"""Accuracy against what a network costs, from rows of the table: marks, curves, the front."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.reports.plots.axes import Axis
from harness.reports.plots.pareto import front
from harness.reports.table.rows import Row
from harness.results import LatencyRecord

Kind = Literal["published", "evaluated", "retrained"]
LEVELS = 3  # of one method and network; from so many on they are joined
_LEVEL = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Point:
    """One mark: what it costs (in the axis' unit) and its top-1 accuracy in percent."""

    entry: str
    method: str
    model: str
    kind: Kind
    cost: float
    top1_pct: float
    std_pp: float | None  # over seeds
    partial: str  # why it is no full number: "" = it is one
    own: bool  # nobody published it
    leads: bool  # it may stand on a Pareto front, see `Row.leads`


def plot_points(
    rows: Sequence[Row],
    axis: Axis,
    latencies: Mapping[str, LatencyRecord] | None = None,
    *,
    published: bool = False,
    partial: bool = False,
) -> list[Point]:
    """The marks of `rows` that have a cost on `axis`, one's own last, so that they lie in front.

    latencies: entry -> record, all of one machine. published: also what was printed, beside what
    was measured or instead of it. partial: also short schedules, subsets and stand-in data.
    """
    found: list[Point] = []
    for row, cost in zip(rows, costs(rows, axis, latencies), strict=True):
        if cost is None or (row.partial and not partial):
            continue
        if published and row.published_top1_pct is not None:
            found.append(_point(row, cost, "published", float(row.published_top1_pct)))
        if row.measured_top1_pct is not None:
            kind: Kind = "evaluated" if row.evaluated_top1_pct is not None else "retrained"
            found.append(_point(row, cost, kind, row.measured_top1_pct))
    return sorted(found, key=lambda point: point.own)


def costs(
    rows: Sequence[Row], axis: Axis, latencies: Mapping[str, LatencyRecord] | None = None
) -> list[float | None]:
    """The cost of each of `rows`.

    Of times: the fastest way of running one image by `latencies`. Where none of `rows` has a
    record, the times that results carry themselves; the two are never mixed.
    """
    if axis.key == "latency":
        timed = {entry: _fastest(record) for entry, record in (latencies or {}).items()}
        if any(row.entry in timed for row in rows):
            return [timed.get(row.entry) for row in rows]
    return [_printed(row, axis) if row.mode == "published" else axis.of(row) for row in rows]


def best(found: Sequence[Point], axis: Axis) -> list[Point]:
    """The Pareto front: points that may lead and that none beats in both, cheapest first."""
    full = [point for point in found if point.leads]
    return [full[i] for i in front([(axis.better(p.cost), p.top1_pct) for p in full])]


def curves(found: Sequence[Point], levels: int = LEVELS) -> list[list[Point]]:
    """What is joined by a line, by cost: full or partial numbers of one kind, method and network,
    whose names differ in nothing but levels, at `levels` different costs or more.
    """
    groups: dict[str, list[Point]] = {}
    for point in found:
        if point.kind != "published":
            key = curve_of(point.entry, point.method, point.model, point.kind, point.partial)
            groups.setdefault(key, []).append(point)
    joined = [group for group in groups.values() if len({p.cost for p in group}) >= levels]
    return [sorted(group, key=lambda p: (p.cost, p.top1_pct)) for group in joined]


def curve_of(entry: str, method: str, model: str, kind: str, partial: str) -> str:
    """What numbers share that may be joined: everything in their names but levels."""
    short = "partial" if partial else ""
    return "|".join((method, model, _LEVEL.sub("", entry), kind, short))


def _point(row: Row, cost: float, kind: Kind, top1: float) -> Point:
    measured = kind != "published"
    return Point(
        entry=row.entry,
        method=row.method,
        model=row.model,
        kind=kind,
        cost=cost,
        top1_pct=top1,
        std_pp=row.retrained_std_pp if measured else None,
        partial=row.partial if measured else "",
        own=row.own,
        leads=measured and row.leads,
    )


def _fastest(record: LatencyRecord) -> float | None:
    """Median milliseconds of one image; the last network of a record is the entry's own."""
    fastest = record.fastest(record.networks[-1].name, batch=1)
    return None if fastest is None else fastest.ms.p50


def _printed(row: Row, axis: Axis) -> float | None:
    """The cost of a row that nobody has measured: its sparsity as printed, no other."""
    if axis.key != "sparsity":
        return None
    if row.granularity == "dense":
        return 0.0
    return None if row.published_sparsity_pct is None else float(row.published_sparsity_pct)
