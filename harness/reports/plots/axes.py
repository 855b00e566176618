"""What accuracy is drawn against, on the site and in pictures: one cost each, read from a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.reports.table.rows import Row

LOG_RANGE = 12  # costs that differ by more are drawn on a logarithmic axis
TOP1_RANGE = (0.0, 100.0)  # of an accuracy in percent
_PREFIXES = ((1e9, "billions"), (1e6, "millions"), (1e3, "thousands"))
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True, slots=True)
class Axis:
    """One cost. of: its value in `row`, None where the row has none.

    rising: more of it is cheaper. at_most: what no value can exceed.
    """

    key: str
    title: str
    of: Callable[[Row], float | None]
    missing: str  # what to do where no row has it
    rising: bool = False
    at_most: float | None = None
    units: tuple[tuple[float, str], ...] = ()  # largest first

    def better(self, cost: float) -> float:
        """`cost` so that less is better."""
        return -cost if self.rising else cost

    def unit(self, costs: Sequence[float]) -> tuple[float, str]:
        """(what to divide by, its word) of the largest unit that most of `costs` reach."""
        middle = sorted(costs)[len(costs) // 2]
        return next(((size, word) for size, word in self.units if middle >= size), (1.0, ""))


MEASURE = "Measure some: bench reproduce --suite quickstart"
_ALL = (
    Axis("macs", "MACs of one image", lambda r: r.macs_effective, MEASURE, units=_PREFIXES),
    Axis("params", "non-zero parameters", lambda r: r.params_nnz, MEASURE, units=_PREFIXES),
    Axis(
        "latency",
        "time of one image, ms",
        lambda r: r.dense_ms_p50 if r.granularity == "dense" else r.fastest_ms_p50,
        "Time the entries first: bench latency ID",
    ),
    Axis(
        "sparsity",
        "zeros among conv and linear weights, %",
        lambda r: r.sparsity_pct,
        MEASURE,
        rising=True,
        at_most=100.0,
    ),
    Axis("size", "size, zeros packed", lambda r: r.size_bytes, MEASURE, units=_BYTES),
)
AXES = {axis.key: axis for axis in _ALL}


def logarithmic(axis: Axis, costs: Sequence[float]) -> bool:
    """Whether `costs` are drawn on a logarithmic axis: they span decades, and none is 0."""
    return axis.at_most is None and min(costs) > 0 and max(costs) / min(costs) > LOG_RANGE
