"""Random pixels where only the time counts."""

from __future__ import annotations

import torch

from harness.data import ImageIdentity, ImageSet


def noise_images(count: int, channels: int = 3, side: int = 32) -> ImageSet:
    """`count` uint8 pictures, channels x side x side, with ten classes; always the same."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, channels, side, side)
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (count,), generator=generator)
    identity = ImageIdentity(
        dataset="noise",
        split="train",
        fingerprint="0" * 64,
        copy_name="noise",
        n_total=count,
        approximate_images=0,
    )
    return ImageSet(identity, pixels, labels)
