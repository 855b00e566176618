"""What makes a result a full number, and how many bytes its weights take."""

from __future__ import annotations

from harness.registry import Overrides
from harness.results.schema import Cost, Result

# Settings that say how long a network was trained: a short schedule is not the protocol.
LENGTHS = ("length", "prune.finetune", "settings.batches_per_epoch")
FLOAT32 = 4  # bytes


def partial_because(result: Result) -> str:
    """Why `result` is no full number: subset, stand-in data, another schedule; "" if it is one."""
    if result.smoke:
        return result.smoke
    return next(iter(changed_lengths(result.overrides)), "")


def changed_lengths(overrides: Overrides) -> list[str]:
    """What was changed of how long the recipe trains, to be said wherever the result is shown."""
    return [
        f"{key} {change.value} instead of "
        + ("all" if change.was is None else f"the recipe's {change.was}")
        for key, change in overrides.items()
        if key in LENGTHS and change.value != change.was
    ]


def packed_bytes(cost: Cost) -> int:
    """Bytes of the parameters in float32: weights as one bit each and the non-zero ones, or plainly
    where that is less; biases and norms plainly. Names and headers are not counted.
    """
    weights = min(FLOAT32 * cost.total, -(-cost.total // 8) + FLOAT32 * cost.nnz)
    return weights + FLOAT32 * (cost.params - cost.total)
