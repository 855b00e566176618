"""Where labels go so that they cover neither marks nor one another. Pure geometry, in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

RADII = (5, 9, 14, 20, 28, 38, 50, 64, 80, 100)  # pixels between a mark and its label
DIRECTIONS = 16


class Box(NamedTuple):
    """A rectangle by its lower left and upper right corners."""

    left: float
    bottom: float
    right: float
    top: float

    def shared(self, other: Box) -> float:
        """Area in common with `other`."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.top, other.top) - max(self.bottom, other.bottom)
        return wide * high if wide > 0 and high > 0 else 0.0

    def outside(self, area: Box) -> float:
        """How much of this box lies outside `area`."""
        whole = (self.right - self.left) * (self.top - self.bottom)
        return whole - self.shared(area)


def place(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    area: Box,
) -> list[Box]:
    """One box per anchor, of its size, near it: the nearest place that is free, in the given order.

    Where none is free within reach, the place that covers least.
    """
    placed: list[Box] = []
    for anchor, size in zip(anchors, sizes, strict=True):
        taken = [*obstacles, *placed]
        best: tuple[float, Box] | None = None
        for box in _candidates(anchor, size):
            cost = 4 * box.outside(area) + sum(box.shared(other) for other in taken)
            if best is None or cost < best[0]:
                best = (cost, box)
            if cost == 0:
                break
        assert best is not None, "there is always a candidate"
        placed.append(best[1])
    return placed


def _candidates(anchor: tuple[float, float], size: tuple[float, float]) -> list[Box]:
    """Boxes around `anchor`, nearest first; straight to the right and left come before the rest."""
    (x, y), (wide, high) = anchor, size
    found = []
    for radius in RADII:
        for step in sorted(range(DIRECTIONS), key=lambda k: abs(math.sin(2 * math.pi * k / 16))):
            angle = 2 * math.pi * step / DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            left = x + radius * across + wide * (across - 1) / 2
            bottom = y + radius * up + high * (up - 1) / 2
            found.append(Box(left, bottom, left + wide, bottom + high))
    return found
