"""What processes that train one network together agree on; nothing changes for one alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    """Number of processes that train together, 1 when alone."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def part_of(limit: int | None) -> int | None:
    """How many of `limit` images of a batch fall to each process, rounded up; None = all."""
    return None if limit is None else -(-limit // world_size())


def means_over_processes(means: Sequence[Tensor], images: int) -> list[Tensor]:
    """Means over the images of all processes, from those over this one's `images`.

    Every process gets the same bits. Alone, `means` as they are. Sums run in float64, in one
    exchange whatever the number of tensors.
    """
    if world_size() == 1:
        return list(means)
    flat = torch.cat([mean.detach().flatten().double() for mean in means]) * images
    sums = torch.cat([flat, flat.new_full((1,), images)])
    dist.all_reduce(sums)
    parts = (sums[:-1] / sums[-1]).split([mean.numel() for mean in means])
    return [part.view_as(mean).to(mean.dtype) for part, mean in zip(parts, means, strict=True)]
