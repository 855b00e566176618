"""How long a step takes."""

from __future__ import annotations

import time
from collections.abc import Callable

REPEATS = 9
BUDGET_S = 0.03  # one step; slow ones are repeated less often


def milliseconds(step: Callable[[], object]) -> float:
    """The shortest of up to nine runs, after one untimed; other work can only lengthen a run."""
    step()
    shortest, spent = float("inf"), 0.0
    for _ in range(REPEATS):
        start = time.perf_counter()
        step()
        taken = time.perf_counter() - start
        shortest, spent = min(shortest, taken), spent + taken
        if spent > BUDGET_S:
            break
    return 1e3 * shortest
