"""Whole networks timed in turns, no longer than it takes to see which one is the fastest."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from torch import Tensor

from harness.sparse.compile_plan import NetworkTimes

FEWEST_ROUNDS, MOST_ROUNDS = 3, 9
PASSES = 3
# Untimed passes first: threads of the way before fall asleep (onnxruntime's spin for 0.1 s), and
# the way's own weights come into the caches.
SETTLE_S = 0.1
TIMED_S = 0.3  # of one turn; slow networks get fewer passes


def times_in_turns(
    ways: Mapping[str, Callable[[Tensor], object]],
    images: Tensor,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, NetworkTimes]:
    """Way -> its times over `images`, all ways in turns, every second round backwards.

    Rounds end once the quartiles of the fastest way lie apart from all others', at the latest
    after MOST_ROUNDS.
    """
    taken: dict[str, list[float]] = {way: [] for way in ways}
    order = list(ways.items())
    times: dict[str, NetworkTimes] = {}
    for done in range(MOST_ROUNDS):
        for way, forward in order:
            taken[way] += _turn(forward, images, now)
        order.reverse()
        if done + 1 >= FEWEST_ROUNDS:
            times = {way: _summary(ms) for way, ms in taken.items()}
            if is_clear(times):
                break
    return times


def fastest(times: Mapping[str, NetworkTimes]) -> str:
    """The way with the lowest median."""
    return min(times, key=lambda way: times[way].p50)


def is_clear(times: Mapping[str, NetworkTimes]) -> bool:
    """Whether the fastest way's third quartile lies below the first quartile of every other."""
    first = fastest(times)
    return all(times[first].p75 < found.p25 for way, found in times.items() if way != first)


def _turn(
    forward: Callable[[Tensor], object], images: Tensor, now: Callable[[], float]
) -> list[float]:
    settled = now() + SETTLE_S
    forward(images)
    while now() < settled:
        forward(images)
    taken: list[float] = []
    while len(taken) < PASSES and sum(taken) < 1e3 * TIMED_S:
        start = now()
        forward(images)
        taken.append(1e3 * (now() - start))
    return taken


def _summary(ms: list[float]) -> NetworkTimes:
    p25, p50, p75 = statistics.quantiles(ms, n=4, method="inclusive")
    return NetworkTimes(p25, p50, p75, len(ms))
