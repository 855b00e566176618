"""Pruning layer by layer, by rank or by a threshold on the layer's own spread."""

from __future__ import annotations

from torch import Tensor

from methods.masks import keep_largest


def drop_smallest(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    """`mask` without its round(rate * alive) smallest |w|; equal ones: the lower index goes first.

    weight: any shape. mask: bool, same shape, True = alive. round is Python's (half to even).
    Raises ValueError unless 0 <= rate <= 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate {rate} is not a share of what is left; give a value from 0 to 1")
    alive = int(mask.sum())
    magnitudes = weight.detach().abs().masked_fill(~mask, -1.0)
    # keep_largest favours the earlier position, so it looks at the positions in reverse.
    backwards = keep_largest(magnitudes.reshape(-1).flip(0), alive - round(rate * alive))
    return backwards.flip(0).view(mask.shape)


def above_spread(weight: Tensor, mask: Tensor, quality: float, survivors: bool = True) -> Tensor:
    """The weights of `mask` with |w| >= quality * standard deviation (Han et al. 2015).

    The population's deviation in float64: of the surviving weights, or, with survivors=False, of
    all weights of the layer, the pruned ones counting as 0. The paper does not say which.
    """
    exact = weight.detach().double()
    values = exact[mask] if survivors else exact * mask
    threshold = quality * values.std(correction=0)
    return mask & (exact.abs() >= threshold)
