"""The small chart on the card of a paper or method: accuracy against zeros, printed and found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.reports.site.lines import Line

WIDTH, HEIGHT = 132.0, 56.0
ROOM = 5.0  # pixels around the marks


@dataclass(frozen=True, slots=True)
class Dot:
    """One number of a row, in pixels from the upper left."""

    x: float
    y: float
    found: bool  # measured here; else as printed


def thumbnail(lines: Sequence[Line]) -> list[Dot]:
    """The dots of `lines` that have a sparsity and an accuracy; none if there are less than two."""
    numbers: list[tuple[float, float, bool]] = []
    for line in lines:
        values = {cell.column.key: cell.value for cell in line.cells}
        zeros = values["sparsity"]
        zeros = 0.0 if zeros is None and line.method == "dense" else zeros
        if not isinstance(zeros, float):
            continue
        for key, found in (("published", False), ("evaluated", True), ("retrained", True)):
            top1 = values[key]
            if isinstance(top1, float):
                numbers.append((zeros, top1, found))
    if len(numbers) < 2:
        return []
    low, high = min(n[1] for n in numbers), max(n[1] for n in numbers)
    across, up = WIDTH - 2 * ROOM, HEIGHT - 2 * ROOM
    span = (high - low) or 1.0
    return [
        Dot(ROOM + across * zeros / 100, ROOM + up * (high - top1) / span, found)
        for zeros, top1, found in numbers
    ]
