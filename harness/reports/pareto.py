"""The Pareto front: what nothing else beats at both cost and accuracy."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether each (cost, value) is on the front: lower cost and higher value are better.

    A point is off the front if another costs no more and is worth no less, and is better in one of
    the two. Equal points are on it together.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    on = [False] * len(points)
    best = float("-inf")  # value among cheaper points
    best_cost = float("nan")  # cost at which it was reached
    for i in order:
        cost, value = points[i]
        if value > best:
            best, best_cost = value, cost
            on[i] = True
        else:
            on[i] = value == best and cost == best_cost
    return on
