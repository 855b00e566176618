"""Who keeps how many weights: layer-wise counts for one pruning event.

Every function takes `weights` (layer name -> tensor), `masks` (same names -> bool tensor,
True = still there) and `amount` (fraction to remove of what is still there, 0..1), and returns
layer name -> number of weights kept, between 0 and what the layer has now. Rounding follows the
published rule of each allocation, so the total may miss the request by a few; `exact` repairs it.
Sources: LAMP (ICLR 2021) and its released code; the same rules serve the rate-distortion paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from methods.masks import global_topk, kth_largest

Counts = dict[str, int]
Allocation = Callable[[Mapping[str, Tensor], Mapping[str, Tensor], float], Counts]

LAST_LAYER_FLOOR = 0.2  # uniform+ leaves the last layer at least this share of its full size


def uniform(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], amount: float) -> Counts:
    """The same fraction removed from every layer: layer name -> kept."""
    _check(weights, masks, amount)
    return {name: alive - round(amount * alive) for name, alive in survivors(masks).items()}


def uniform_plus(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], amount: float
) -> Counts:
    """Uniform with a dense first convolution and a floor under the last layer: name -> kept.

    The first layer is spared only if it is a convolution (4-D). The last layer keeps at least
    20 % of its full size. Raises ValueError when the other layers cannot make up for that.
    """
    _check(weights, masks, amount)
    alive = survivors(masks)
    names = list(alive)
    to_remove = round(amount * sum(alive.values()))
    pool = names[1:] if weights[names[0]].dim() == 4 else names
    removed = dict.fromkeys(names, 0)
    share = _share(to_remove, [alive[name] for name in pool], amount)
    last = names[-1]
    floor = round(LAST_LAYER_FLOOR * weights[last].numel())
    if pool and round((1 - share) * alive[last]) < floor:
        pool = pool[:-1]
        removed[last] = alive[last] - floor
        share = _share(to_remove - removed[last], [alive[name] for name in pool], amount)
    removed.update({name: round(share * alive[name]) for name in pool})
    return {name: alive[name] - removed[name] for name in names}


def _share(to_remove: int, pool: list[int], amount: float) -> float:
    size = sum(pool)
    if to_remove > size:
        raise ValueError(
            f"amount {amount} is infeasible for uniform+: {to_remove} weights must go, but the "
            f"layers it may prune hold {size}; lower the amount or use another allocation"
        )
    return to_remove / size if size else 0.0


def erk(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], amount: float) -> Counts:
    """Survivors in proportion to the sum of the weight's dimensions (Erdos-Renyi-Kernel): kept.

    A layer whose share exceeds what it has stays as it is, and the rest is shared again; layers
    are fixed one at a time, the most over-full first, the earlier one on ties.
    """
    _check(weights, masks, amount)
    alive = survivors(masks)
    share = {name: sum(weights[name].shape) for name in alive}
    budget = (1 - amount) * sum(alive.values())
    untouched: set[str] = set()
    while len(untouched) < len(alive):
        # Never negative: an over-full layer's share, a part of the rest, exceeded what it has.
        rest = budget - sum(alive[name] for name in untouched)
        open_layers = [name for name in alive if name not in untouched]
        scale = rest / sum(share[name] for name in open_layers)
        kept = {name: round(scale * share[name]) for name in open_layers}
        fullest = max(open_layers, key=lambda name: _ratio(kept[name], alive[name]))
        if kept[fullest] <= alive[fullest]:
            return {name: kept.get(name, alive[name]) for name in alive}
        untouched.add(fullest)
    return alive


def _ratio(kept: int, alive: int) -> float:
    return kept / alive if alive else float(kept)


def global_magnitude(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], amount: float
) -> Counts:
    """One magnitude threshold over all layers: layer name -> kept. Layers may become empty.

    round(amount * alive) of the smallest |w| go; ties: the layer registered first keeps.
    """
    _check(weights, masks, amount)
    alive = sum(survivors(masks).values())
    scores = {name: magnitude(weights[name], masks[name]) for name in masks}
    return survivors(global_topk(scores, alive - round(amount * alive)))


def lamp(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], amount: float) -> Counts:
    """One threshold over the LAMP scores of all layers: layer name -> kept, never 0.

    The request is rounded in float32 as released; every weight that ties with the threshold
    stays. The counts are then meant for magnitude pruning inside each layer.
    """
    _check(weights, masks, amount)
    alive = survivors(masks)
    keep = round(float(torch.tensor(sum(alive.values()), dtype=torch.float32) * (1 - amount)))
    keep = min(keep, sum(alive.values()))
    if keep == 0:
        return dict.fromkeys(alive, 0)
    scores = {name: lamp_scores(weights[name], masks[name])[masks[name]] for name in masks}
    threshold = kth_largest(torch.cat(list(scores.values())), keep)
    kept = torch.stack([(score >= threshold).sum() for score in scores.values()]).tolist()
    return dict(zip(scores, kept, strict=True))


def lamp_scores(weight: Tensor, mask: Tensor) -> Tensor:
    """LAMP scores in float64, 0..1, shape of `weight`; masked positions are 0.

    score = w^2 / sum of the squares of this and all larger weights of the layer (LAMP eq. 4);
    ties rank by position. Deviation: float64 suffix sums, because the released float32
    difference of sums loses the largest scores of big layers.
    """
    flat = torch.where(mask, weight.detach(), 0).reshape(-1).double()
    squares, order = flat.square().sort(stable=True)
    # On the CPU: a float cumsum on CUDA is not deterministic, and refused where that counts.
    suffix = squares.cpu().flip(0).cumsum(0).flip(0).to(squares.device)
    ranked = torch.where(squares > 0, squares / suffix, 0.0)
    return ranked[order.argsort()].view(weight.shape)


def magnitude(weight: Tensor, mask: Tensor) -> Tensor:
    """|w| with -1 at masked positions: ranks every live weight, zeros too, above masked ones."""
    return weight.detach().abs().masked_fill(~mask, -1.0)


def survivors(masks: Mapping[str, Tensor]) -> Counts:
    """Layer name -> number of True, in one transfer from the device."""
    if not masks:
        return {}
    counts = torch.stack([mask.sum() for mask in masks.values()]).tolist()
    return dict(zip(masks, counts, strict=True))


def exact(kept: Mapping[str, int], alive: Mapping[str, int], total: int) -> Counts:
    """`kept` moved to sum to `total` exactly, layer name -> kept, 0 <= kept <= alive.

    The difference is spread evenly over the layers that were pruned but not emptied, largest
    first; only when those cannot take it do untouched or empty layers follow.
    Raises ValueError when `total` is not between 0 and the weights alive.
    """
    if not 0 <= total <= sum(alive.values()):
        raise ValueError(f"cannot keep {total} of {sum(alive.values())} weights")
    counts = dict(kept)
    by_size = sorted(counts, key=lambda name: -counts[name])
    partly = [name for name in by_size if 0 < counts[name] < alive[name]]
    rest = [name for name in by_size if name not in partly]
    missing = total - sum(counts.values())
    for floor, layers in ((1, partly), (0, partly), (0, rest)):
        missing = _spread(counts, alive, layers, missing, floor)
    return counts


def _spread(
    counts: Counts, alive: Mapping[str, int], layers: list[str], missing: int, floor: int
) -> int:
    """What is still missing after `layers` took all they can, between `floor` and alive."""
    while missing:
        room = {
            name: (alive[name] - counts[name] if missing > 0 else max(counts[name] - floor, 0))
            for name in layers
        }
        takers = [name for name in layers if room[name]]
        if not takers:
            break
        step = max(1, abs(missing) // len(takers))
        for name in takers:
            move = min(step, room[name], abs(missing))
            counts[name] += move if missing > 0 else -move
            missing += -move if missing > 0 else move
    return missing


def _check(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], amount: float) -> None:
    if not 0.0 <= amount <= 1.0:
        raise ValueError(f"amount {amount} is not a fraction; give a value from 0 to 1")
    if not masks or list(weights) != list(masks):
        raise ValueError("weights and masks must name the same layers in the same order, not none")


ALLOCATIONS: dict[str, Allocation] = {
    "uniform": uniform,
    "uniform_plus": uniform_plus,
    "erk": erk,
    "global": global_magnitude,
    "lamp": lamp,
}
