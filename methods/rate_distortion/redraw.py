"""Random crops and flips of calibration images, drawn anew for every pass.

The published program measures CIFAR curves on such images by mistake, so its distortions hold
noise even at rate 0. This repeats it, deterministically and layer by layer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

PADDING = 4  # pixels on each side, black, before a crop of the picture's own size

Transform = Callable[[Tensor], Tensor]


def redrawing(images: Tensor, seed: int) -> Callable[[str], Transform]:
    """name -> a transform that crops and flips a batch anew at every call.

    Each name has a generator of its own, so that curves do not depend on which were known.
    images: (M, C, H, W), all of the calibration set, normalised. Deviation: black, which pads the
    picture, is the lowest value of a channel in it; the original pads before normalising.
    """
    black = images.amin(dim=(0, 2, 3))

    def named(name: str) -> Transform:
        drawn = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(drawn[:7], "big"))
        return lambda batch: _crop_and_flip(batch, black.to(batch), generator)

    return named


def _crop_and_flip(batch: Tensor, black: Tensor, generator: torch.Generator) -> Tensor:
    n, _, height, width = batch.shape
    padded = (
        black[None, :, None, None].expand(n, -1, height + 2 * PADDING, width + 2 * PADDING).clone()
    )
    padded[:, :, PADDING:-PADDING, PADDING:-PADDING] = batch
    corner = torch.randint(0, 2 * PADDING + 1, (2, n, 1), generator=generator)
    flip = torch.randint(0, 2, (n, 1), generator=generator).bool()
    rows = corner[0] + torch.arange(height)
    columns = torch.where(flip, torch.arange(width - 1, -1, -1), torch.arange(width)) + corner[1]
    rows, columns = rows.to(batch.device), columns.to(batch.device)
    every = torch.arange(n, device=batch.device)
    # Indices around the channel slice put it last.
    return padded[every[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )
