"""Which rate each layer gets, from distortion curves and a budget of kept weights.

Minimise the sum of D_l(k_l) over the layers such that the kept weights stay within the budget and
no layer falls below the rate it has reached already: a multiple-choice knapsack. `solve_exact` is
ours; `solve_official` repeats the published program with its errors (rules 1.4 of the method's
description), so that differences to published allocations can be explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import numpy.typing as npt
from torch import Tensor

Matrix = Tensor | npt.NDArray[np.floating] | Sequence[Sequence[float]]
Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.int64]

BUDGET_UNITS = 131072  # cells of the budget axis at most; bigger networks are counted in units
RATE_SLACK = 1e-6  # a rate this little below the one reached still counts as reached
PIECE = 4096  # the published program fills its table in pieces of this many columns
_BLOCK = 1 << 16  # columns per pass of the official solver: the working set stays in cache


class OfficialIndexError(IndexError):
    """The published program reads outside its table here, and stops."""


def solve_exact(
    curves: Matrix,
    sizes: Sequence[int],
    budget: int,
    previous: Sequence[float] | None = None,
    *,
    rates: Sequence[float] | None = None,
    costs: npt.ArrayLike | None = None,
) -> list[int]:
    """One rate index per layer with the least total distortion within the budget.

    curves: (L, P) finite distortions. sizes: weights per layer. budget: weights kept at most.
    previous: rate each layer has reached, default 0; only rates >= previous - 1e-6 are allowed.
    rates: the P rates, default k / (P - 1). Kept weights are n - int(rate * n).
    costs: (L, P) whole numbers >= 0 in place of the kept weights, in the unit of `budget`. With
    kept weights times output positions and a budget of MACs this is the FLOPs-constrained
    variant, which is ours and not part of the published method.
    Exact up to 131072 weights; above, costs are rounded up and the budget down to multiples of
    ceil(total / 131072), so the budget still holds. Ties: the first smallest rate.
    Raises ValueError if the budget cannot be met, or for shapes that do not fit.
    """
    table = _checked_curves(curves, len(sizes), np.dtype(np.float64))
    points = table.shape[1]
    grid = _grid(points) if rates is None else np.asarray(rates, dtype=np.float64)
    reached = _checked_previous(previous, len(sizes)).astype(np.float64)
    if costs is None:
        kept = np.array([[n - int(rate * n) for rate in grid] for n in sizes], dtype=np.int64)
    else:
        kept = _checked_costs(costs, table.shape)
    allowed = grid[None, :] >= reached[:, None] - RATE_SLACK
    _check_feasible(kept, allowed, int(budget))
    unit = max(1, ceil(int(kept.max(axis=1).sum()) / BUDGET_UNITS))
    choices = _knapsack(table, -(-kept // unit), allowed, int(budget) // unit)
    if choices is None:
        msg = f"the budget {budget} is met exactly only without rounding to multiples of {unit}"
        raise ValueError(f"{msg}; raise it by {unit * len(sizes)} or let the grid end at rate 1")
    return choices


def _knapsack(
    table: Floats, costs: Integers, allowed: npt.NDArray[np.bool_], budget: int
) -> list[int] | None:
    """Dynamic program over 0..budget; None if nothing fits."""
    best = np.zeros(budget + 1)
    narrow = np.uint8 if table.shape[1] <= 256 else np.uint16
    back = np.zeros((len(table), budget + 1), dtype=narrow)
    trial = np.empty(budget + 1)
    better = np.empty(budget + 1, dtype=bool)
    for layer, (row, cost) in enumerate(zip(table, costs, strict=True)):
        current = np.full(budget + 1, np.inf)
        for k in _worthwhile(row, cost, allowed[layer], budget):
            shift, width = int(cost[k]), budget + 1 - int(cost[k])
            np.add(best[:width], row[k], out=trial[:width])
            np.less(trial[:width], current[shift:], out=better[:width])
            np.copyto(current[shift:], trial[:width], where=better[:width])
            np.copyto(back[layer, shift:], narrow(k), where=better[:width])
        best = current
    if not np.isfinite(best[budget]):
        return None
    choices, left = [0] * len(table), budget
    for layer in reversed(range(len(table))):
        choices[layer] = int(back[layer, left])
        left -= int(costs[layer, choices[layer]])
    return choices


def _worthwhile(
    row: Floats, cost: Integers, allowed: npt.NDArray[np.bool_], budget: int
) -> list[int]:
    """Allowed rate indices, ascending, without those another beats in distortion at no more cost.

    What is left out could not win anywhere; equal distortions stay, so ties fall as without it.
    """
    candidates = [k for k in np.flatnonzero(allowed) if cost[k] <= budget]
    order = sorted(candidates, key=lambda k: (cost[k], row[k]))
    kept, lowest = [], np.inf
    for k in order:
        if row[k] <= lowest:
            kept.append(int(k))
            lowest = row[k]
    return sorted(kept)


def solve_official(
    curves: Matrix,
    sizes: Sequence[int],
    target: float,
    previous: Sequence[float] | None = None,
) -> list[int]:
    """One rate index per layer, exactly as the published program chooses it, errors included.

    curves: (L, P), used as float32; rates are k / (P - 1) in float32. target: sparsity to reach;
    the budget is int((1 - target) * N). previous: rate reached per layer, default 0.
    Known errors, kept on purpose: columns at multiples of 4096 are never filled, so layers may be
    left dense or emptied; the smallest layer takes the nearest rate, even beyond the budget or
    below the rate it has reached; the backtrack starts one column early.
    Equal sizes are taken in order of position (the original's order depends on the machine).
    Raises OfficialIndexError (an IndexError) where the original stops with one: when the largest
    layer has more than budget + 1 weights.
    """
    table = _checked_curves(curves, len(sizes), np.dtype(np.float32))
    phi = _grid(table.shape[1]).astype(np.float32)
    reached = _checked_previous(previous, len(sizes)).astype(np.float32)
    budget = official_budget(sizes, table.shape[1], target)
    order = np.argsort(np.asarray(sizes), kind="stable")
    best = np.empty(0, dtype=np.float32)
    back: list[npt.NDArray[np.unsignedinteger]] = []
    filled = 0
    for row, layer in enumerate(order):
        size = int(sizes[layer])
        filled = min(filled + size, budget)
        if row == 0:
            best, choice = _official_first_row(table[layer], size, phi, budget, filled)
        else:
            usable = phi >= reached[layer]
            best, choice = _official_row(table[layer], size, phi, usable, best, budget, filled)
        back.append(choice[:filled].copy())  # beyond, every column is a copy of the last
    return _official_backtrack(back, order, sizes, phi, budget)


def official_budget(sizes: Sequence[int], points: int, target: float) -> int:
    """Weights kept at most by the published program, for `points` rates; needs no curves.

    Raises OfficialIndexError where it stops: an empty table, or a layer, other than the smallest,
    for which it reads before the start of a row.
    """
    budget = int((1 - float(target)) * sum(sizes))
    if budget < 1:
        msg = f"the published program has an empty table at sparsity {target} ({budget} weights)"
        raise OfficialIndexError(f"{msg}; use the exact solver")
    first = 1 - _grid(points).astype(np.float32)[0]
    for size in sorted(sizes)[1:]:
        kept_all = int(np.float32(size) * first)
        if budget > 1 and 1 - kept_all < -budget:
            msg = f"the published program fails here: a layer of {size} weights is more than the"
            raise OfficialIndexError(f"{msg} {budget} to keep plus one; use the exact solver")
    return budget


def _official_columns(budget: int, filled: int) -> int:
    """End of the columns the pieces visit; a piece is never cut short by `filled`."""
    return min(budget, PIECE * ceil((filled - 1) / PIECE)) if filled > 1 else 1


def _official_first_row(
    row: Floats, size: int, phi: Floats, budget: int, filled: int
) -> tuple[Floats, npt.NDArray[np.unsignedinteger]]:
    """The smallest layer takes the rate nearest to every column, whatever it costs."""
    best, choice = _official_empty(phi, budget)
    end = _official_columns(budget, filled)
    columns = np.arange(end)
    share = columns.astype(np.float32) / np.float32(size)
    for first in range(0, end, _BLOCK):
        part = slice(first, min(end, first + _BLOCK))
        distance = np.abs((1 - phi)[None, :] - share[part, None])
        choice[part] = distance.argmin(axis=1)
        best[part] = row[choice[part]]
    _official_finish(best, choice, filled, budget, end, row[-1], len(phi) - 1)
    return best, choice


def _official_row(
    row: Floats,
    size: int,
    phi: Floats,
    usable: npt.NDArray[np.bool_],
    before: Floats,
    budget: int,
    filled: int,
) -> tuple[Floats, npt.NDArray[np.unsignedinteger]]:
    best, choice = _official_empty(phi, budget)
    kept = np.float32(size) * (1 - phi)
    whole = np.trunc(kept).astype(np.int64)
    end = _official_columns(budget, filled)
    for first in range(1, end, _BLOCK):
        last = min(end, first + _BLOCK)
        for k in np.flatnonzero(usable):
            start = max(first, int(np.floor(kept[k])) + 1)  # columns strictly above kept
            if start >= last:
                continue
            trial = row[k] + before[start - whole[k] : last - whole[k]]
            better = trial < best[start:last]
            np.copyto(best[start:last], trial, where=better)
            np.copyto(choice[start:last], choice.dtype.type(k), where=better)
    _official_finish(best, choice, filled, budget, end, row[-1], len(phi) - 1)
    return best, choice


def _official_empty(phi: Floats, budget: int) -> tuple[Floats, npt.NDArray[np.unsignedinteger]]:
    narrow = np.uint8 if len(phi) <= 256 else np.uint16
    return np.full(budget, np.inf, dtype=np.float32), np.zeros(budget, dtype=narrow)


def _official_finish(
    best: Floats,
    choice: npt.NDArray[np.unsignedinteger],
    filled: int,
    budget: int,
    end: int,
    emptied: np.floating,
    last: int,
) -> None:
    """Column 0, the columns no piece visits, and the copy beyond what the layers can hold."""
    best[PIECE:end:PIECE] = np.inf
    choice[PIECE:end:PIECE] = 0
    # Later rows never read this distortion, except as the copy made for a layer of one weight.
    best[0], choice[0] = emptied, last
    if filled < budget:
        best[filled:] = best[filled - 1]
        choice[filled:] = choice[filled - 1]


def _official_backtrack(
    back: list[npt.NDArray[np.unsignedinteger]],
    order: Integers,
    sizes: Sequence[int],
    phi: Floats,
    budget: int,
) -> list[int]:
    choices, left = [0] * len(sizes), budget
    for row in reversed(range(len(order))):
        layer = int(order[row])
        k = int(back[row][min(max(0, left - 1), len(back[row]) - 1)])
        choices[layer] = k
        left = max(0, left - int((1 - phi[k]) * np.float32(sizes[layer])))
    return choices


def _grid(points: int) -> npt.NDArray[np.float64]:
    return np.arange(points) / max(1, points - 1)


def _checked_curves(curves: Matrix, layers: int, dtype: np.dtype[np.floating]) -> Floats:
    values = curves.detach().cpu().numpy() if isinstance(curves, Tensor) else np.asarray(curves)
    if values.ndim != 2 or len(values) != layers or not layers:
        msg = f"curves of shape {values.shape} do not fit {layers} layer sizes"
        raise ValueError(f"{msg}; give one row per layer, one column per rate")
    if not np.isfinite(values).all():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        raise ValueError(f"curves of layers {bad[:5].tolist()} are not finite; measure them again")
    return values.astype(dtype)


def _checked_previous(previous: Sequence[float] | None, layers: int) -> Floats:
    reached = np.zeros(layers) if previous is None else np.asarray(previous)
    if reached.shape != (layers,):
        raise ValueError(f"{reached.shape[0]} previous rates do not fit {layers} layers")
    return reached


def _checked_costs(costs: npt.ArrayLike, shape: tuple[int, ...]) -> Integers:
    values = np.asarray(costs)
    if values.shape != shape or not np.issubdtype(values.dtype, np.integer) or values.min() < 0:
        msg = f"costs of shape {values.shape} and type {values.dtype} do not fit curves {shape}"
        raise ValueError(f"{msg}; give whole numbers >= 0, one per layer and rate")
    return values.astype(np.int64)


def _check_feasible(kept: Integers, allowed: npt.NDArray[np.bool_], budget: int) -> None:
    if not allowed.any(axis=1).all():
        layer = int(np.argmin(allowed.any(axis=1)))
        raise ValueError(f"layer {layer} has reached a rate above every rate of the grid")
    least = int(np.where(allowed, kept, np.iinfo(np.int64).max).min(axis=1).sum())
    if budget < least:
        msg = f"a budget of {budget} cannot be met: the allowed rates keep at least {least}"
        raise ValueError(f"{msg} of {int(kept.max(axis=1).sum())}; lower the target sparsity")
