"""Which images the distortion of a layer is measured on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def calibration_indices(n_total: int, size: int, folder: bool = False) -> list[int]:
    """Which training images calibrate: every s-th, s = n_total // size (rule 1.3).

    folder=False (CIFAR): the first `size` of 0, s, 2s, ... folder=True (ImageNet, files sorted by
    class folder, then name): all of them but the last, so one fewer than `size` where s divides.
    Raises ValueError unless 1 <= size <= n_total, or if nothing is left.
    """
    if not 1 <= size <= n_total:
        msg = f"cannot draw {size} calibration images from {n_total}"
        hint = f"take 1 to {n_total}" if n_total else "is the image folder empty?"
        raise ValueError(f"{msg}; {hint}")
    every = range(0, n_total, n_total // size)
    chosen = list(every)[:-1] if folder else list(every)[:size]
    if not chosen:
        raise ValueError("the folder rule drops the last image, and there is only one; ask for 2")
    return chosen


def synthetic_images(size: int, shape: Sequence[int], seed: int) -> Tensor:
    """Standard normal images (size, *shape) float32 on the CPU: calibration without data."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((size, *shape), generator=generator)
