"""Points of the accuracy-against-cost chart, and which of them nothing else beats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.registry import Entry
from harness.reports.plots.pareto import front
from harness.reports.table.cells import MISSING
from harness.reports.table.rows import Row
from harness.results import LatencyRecord


@dataclass(frozen=True, slots=True)
class Axis:
    """One cost that accuracy is drawn against."""

    key: str
    title: str
    scale: str  # log | linear
    rising: bool = False  # more is cheaper


AXES = (
    Axis("macs", "MACs of one image", "log"),
    Axis("weights", "non-zero weights", "log"),
    Axis("ms", "time of one image, ms", "log"),
    Axis("sparsity", "zeros among conv and linear weights, %", "linear", rising=True),
)


def chart_points(
    rows: Sequence[Row],
    unmeasured: Sequence[Entry],
    latencies: Mapping[str, LatencyRecord] | None = None,
) -> list[dict[str, Any]]:
    """One JSON object per measured row, and per published row without a result.

    latencies: entry -> timing record, all of one machine; the fastest way of running one image
    counts. Where none of `rows` has one, the times that results carry themselves are taken; the two
    are never mixed.

    `front` names the axes on which a point is on the Pareto front. Smoke runs and numbers that are
    only published take no part in it.
    """
    timed = {entry: _fastest(record) for entry, record in (latencies or {}).items()}
    if any(row.entry in timed for row in rows):
        times = [timed.get(row.entry) for row in rows]
    else:
        times = [_own_time(row) for row in rows]
    found = [_measured(row, ms) for row, ms in zip(rows, times, strict=True)] + [
        _published(entry) for entry in unmeasured if entry.top1
    ]
    for axis in AXES:
        taking_part = [
            point
            for point in found
            if point["how"] in ("evaluated", "retrained") and point[axis.key] is not None
        ]
        costs = [(-p[axis.key] if axis.rising else p[axis.key], p["top1"]) for p in taking_part]
        for place in front(costs):
            taking_part[place]["front"].append(axis.key)
    return found


def first_axis(points: Sequence[dict[str, Any]]) -> str:
    """The axis to begin with: the first with a Pareto front, else the one with most points."""
    fronts = [axis.key for axis in AXES if any(axis.key in point["front"] for point in points)]
    shown = {axis.key: sum(p[axis.key] is not None for p in points) for axis in AXES}
    return fronts[0] if fronts else max(shown, key=lambda key: shown[key])


def _fastest(record: LatencyRecord) -> float | None:
    """Median milliseconds of one image; the last network of a record is the entry's own."""
    fastest = record.fastest(record.networks[-1].name, batch=1)
    return None if fastest is None else fastest.ms.p50


def _own_time(row: Row) -> float | None:
    return row.dense_ms_p50 if row.granularity == "dense" else row.fastest_ms_p50


def _measured(row: Row, ms: float | None) -> dict[str, Any]:
    how = "evaluated" if row.evaluated_top1_pct is not None else "retrained"
    return {
        "id": row.entry,
        "method": row.method,
        "model": row.model,
        "paper": row.paper or "",
        "how": "smoke" if row.smoke else how,
        "top1": row.measured_top1_pct,
        "published": row.published_top1_pct or MISSING,
        "macs": row.macs_effective,
        "weights": row.weights_nnz,
        "ms": ms,
        "sparsity": row.sparsity_pct,
        "verdict": row.verdict,
        "note": row.note or MISSING,
        "front": [],
    }


def _published(entry: Entry) -> dict[str, Any]:
    sparsity = entry.published.get("sparsity_pct")
    weights = entry.published.get("params_millions")
    top1 = entry.top1
    assert top1 is not None  # points are made of entries that have one
    return {
        "id": entry.id,
        "method": entry.method,
        "model": entry.model,
        "paper": entry.paper,
        "how": "published",
        "top1": top1.value,
        "published": top1.text,
        "macs": None,
        "weights": None if weights is None else round(weights.value * 1e6),
        "ms": None,
        "sparsity": 0.0 if entry.granularity == "dense" else sparsity.value if sparsity else None,
        "verdict": "not measured",
        "note": MISSING,
        "front": [],
    }
