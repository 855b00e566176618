"""Accuracy against what a network costs, from stored results: the marks, and which are best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.reports.plots.pareto import front
from harness.results import LatencyRecord, Result, sample_std

Axis = Literal["macs", "params", "sparsity", "latency"]
Kind = Literal["published", "evaluated", "retrained"]
AXES: tuple[Axis, ...] = ("macs", "params", "sparsity", "latency")


@dataclass(frozen=True, slots=True)
class Point:
    """One mark: what it costs (in the axis' unit) and its top-1 accuracy in percent."""

    entry: str
    method: str
    kind: Kind
    cost: float
    top1_pct: float
    std_pp: float | None  # over seeds
    doubt: str  # why it is no full number: "" = it is one


def plot_points(
    results: Iterable[Result],
    axis: Axis,
    latencies: Mapping[str, LatencyRecord] | None = None,
) -> list[Point]:
    """The marks of `results`, one or two each (published beside what was measured here).

    axis: macs (millions per image, density applied), params (millions, zeros not counted),
    sparsity (percent of zeros among weights) or latency (milliseconds of one image on the fastest
    backend). latencies: entry -> record, all of one machine; results without one have no mark on
    that axis.
    """
    found: list[Point] = []
    for result in results:
        cost = _cost(result, axis, latencies or {})
        if cost is None or result.counts is None:
            continue
        top1 = result.metrics["top1_pct"]
        if top1.published is not None:
            value = float(top1.published)
            found.append(Point(result.entry, result.method, "published", cost, value, None, ""))
        if top1.measured is not None:
            kind: Kind = "evaluated" if result.mode == "evaluated" else "retrained"
            spread = sample_std([run.counts.top1_pct for run in result.runs])
            found.append(
                Point(result.entry, result.method, kind, cost, top1.measured, spread, doubt(result))
            )
    return found


def doubt(result: Result) -> str:
    """Why a result is no full number: subset, stand-in data, shortened schedule; "" if it is."""
    if result.smoke:
        return result.smoke
    for name in ("length", "prune.finetune"):
        change = result.overrides.get(name)
        if change is not None and change.value != change.was:
            return f"{name} {change.value} instead of {change.was}"
    return ""


def best(found: Sequence[Point]) -> list[Point]:
    """The Pareto front: full numbers measured here that none beats in both, cheapest first."""
    full = [p for p in found if p.kind != "published" and not p.doubt]
    return [full[i] for i in front([(p.cost, p.top1_pct) for p in full])]


def _cost(result: Result, axis: Axis, latencies: Mapping[str, LatencyRecord]) -> float | None:
    if axis == "macs":
        return result.cost.macs_effective / 1e6
    if axis == "params":
        return (result.cost.params - result.cost.total + result.cost.nnz) / 1e6
    if axis == "sparsity":
        return result.cost.sparsity_pct
    record = latencies.get(result.entry)
    fastest = None if record is None else record.fastest(record.networks[-1].name, batch=1)
    return None if fastest is None else fastest.ms.p50
