"""Where an axis begins and ends: what is possible, and not stretched by one outlier."""

from __future__ import annotations

import math
from collections.abc import Sequence

ENOUGH = 8  # values; of fewer none is called an outlier
REACH = 3.0  # interquartile ranges beyond the quartiles that still belong to the crowd
MARGIN = 0.06  # of the range, on either side


def robust_limits(
    values: Sequence[float],
    lowest: float | None = None,
    highest: float | None = None,
    log: bool = False,
) -> tuple[float, float]:
    """Limits for `values` (at least one): all of the crowd, some room, nothing impossible.

    The crowd is what lies within REACH interquartile ranges of the quartiles (Tukey's far
    fences); what lies beyond is to be drawn at the edge, and said. log: measured in decades.
    """
    scaled = sorted(math.log10(value) if log else value for value in values)
    crowd = _crowd(scaled) if len(scaled) >= ENOUGH else scaled
    low, high = crowd[0], crowd[-1]
    room = MARGIN * (high - low) or (0.1 if log else max(1e-9, abs(high) * MARGIN, 0.5))
    limits = (low - room, high + room)
    low, high = (10 ** limits[0], 10 ** limits[1]) if log else limits
    return (
        low if lowest is None else max(low, lowest),
        high if highest is None else min(high, highest),
    )


def _crowd(ordered: Sequence[float]) -> list[float]:
    first, third = _quantile(ordered, 0.25), _quantile(ordered, 0.75)
    reach = REACH * (third - first)
    kept = [value for value in ordered if first - reach <= value <= third + reach]
    return kept if reach > 0 else list(ordered)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the values, as most programs do it."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
