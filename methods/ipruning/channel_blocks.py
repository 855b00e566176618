"""How many channels of a candidate stay: whole blocks of those that a CPU's kernels take at once.

Other numbers cost as much to multiply. And a kernel is made for every new size of a layer, which
takes about as long as a small layer itself: with any number of channels nearly every candidate
would ask for new ones.
"""

from __future__ import annotations

from torch import Tensor

BLOCK = 16


def whole_blocks(bits: Tensor) -> Tensor:
    """Bits bool (n,), with as many of those that are off switched on as fill whole blocks.

    The first ones that are off; all n if n is no multiple of a block, one block if none was on.
    """
    kept = int(bits.sum())
    wanted = -(-max(kept, 1) // BLOCK) * BLOCK
    filled = bits.clone()
    filled[(~bits).nonzero().flatten()[: wanted - kept]] = True
    return filled


def block_indices(bits: Tensor) -> Tensor:
    """int64 indices of `whole_blocks`."""
    return whole_blocks(bits).nonzero().flatten()
