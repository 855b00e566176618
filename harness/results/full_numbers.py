"""What makes a result a full number, and how many bytes its weights take."""

from __future__ import annotations

from harness.results.schema import Cost, Result

SCHEDULE = ("length", "prune.finetune")  # settings that say how long a network was trained
FLOAT32 = 4  # bytes


def partial_because(result: Result) -> str:
    """Why `result` is no full number: subset, stand-in data, another schedule; "" if it is one."""
    if result.smoke:
        return result.smoke
    for name in SCHEDULE:
        change = result.overrides.get(name)
        if change is not None and change.value != change.was:
            return f"{name} {change.value} instead of {change.was}"
    return ""


def packed_bytes(cost: Cost) -> int:
    """Bytes of the parameters in float32: weights as one bit each and the non-zero ones, or plainly
    where that is less; biases and norms plainly. Names and headers are not counted.
    """
    weights = min(FLOAT32 * cost.total, -(-cost.total // 8) + FLOAT32 * cost.nnz)
    return weights + FLOAT32 * (cost.params - cost.total)
