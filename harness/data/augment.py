"""Augmentation of whole batches of small images, on their device, by index arithmetic.

Every draw comes from an explicit generator on the CPU, so a GPU run sees the same pictures as a
CPU run, and nothing is drawn or synchronised inside a training step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.data.pixels import Normalise
from harness.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Draws:
    """One row of random numbers per image, each a tensor of shape (N,)."""

    down: Tensor  # int64, 0..2*padding: first row of the crop in the padded image
    across: Tensor  # int64, likewise for columns
    flipped: Tensor  # bool, mirrored left to right
    radians: Tensor  # float32, counter-clockwise
    cut_row: Tensor  # int64, 0..H-1: centre of the square that is cut out
    cut_column: Tensor  # int64, 0..W-1

    def rows(self, first: int, last: int) -> Draws:
        """The draws of images first..last-1, as views."""
        return Draws(*(getattr(self, field.name)[first:last] for field in fields(self)))

    def to(self, device: torch.device | str) -> Draws:
        """The same draws on `device`."""
        return Draws(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Augment:
    """What is done to each training image, in this order: crop, flip, rotate, normalise, cut out.

    crop_padding: pixels of zeros on each side (black, before normalisation, as torchvision's
    RandomCrop does), then a crop of the original size at a uniform place. 0 = off.
    flip: mirrored left to right with probability 1/2.
    rotation_degrees: (low, high), angle uniform in between, counter-clockwise about the centre,
    nearest neighbour, black outside: torchvision's RandomRotation defaults on tensors.
    cutout: side in pixels of a square set to 0 after normalisation, its centre uniform over the
    image, clipped at the border (DeVries and Taylor 2017). 0 = off.
    """

    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0
    rotation_degrees: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.crop_padding < 0 or self.cutout < 0:
            msg = f"crop_padding {self.crop_padding} and cutout {self.cutout} are pixels"
            raise ProtocolError(f"{msg} and cannot be negative; 0 switches them off")
        if self.rotation_degrees and self.rotation_degrees[0] > self.rotation_degrees[1]:
            raise ProtocolError(f"rotation_degrees {self.rotation_degrees}: give (low, high)")

    def draw(self, count: int, height: int, width: int, generator: torch.Generator) -> Draws:
        """The draws for `count` images; `generator` lives on the CPU.

        Every kind is drawn whether used or not, so switching one on leaves the others as they were.
        """
        low, high = self.rotation_degrees or (0.0, 0.0)
        offsets = torch.randint(2 * self.crop_padding + 1, (2, count), generator=generator)
        flipped = torch.rand(count, generator=generator) < 0.5
        degrees = low + (high - low) * torch.rand(count, generator=generator)
        return Draws(
            down=offsets[0],
            across=offsets[1],
            flipped=flipped if self.flip else torch.zeros_like(flipped),
            radians=degrees * (math.pi / 180),
            cut_row=torch.randint(height, (count,), generator=generator),
            cut_column=torch.randint(width, (count,), generator=generator),
        )

    def __call__(self, images: Tensor, draws: Draws, normalise: Normalise) -> Tensor:
        """Augmented images: uint8 (N, C, H, W) in, normalised float32 of the same shape out."""
        moved = self.moved(images, draws)
        out = normalise(moved)
        return _cut_out(out, draws, self.cutout) if self.cutout else out

    def moved(self, images: Tensor, draws: Draws) -> Tensor:
        """Cropped, flipped and rotated images, still uint8: one gather for all three."""
        if not (self.crop_padding or self.flip or self.rotation_degrees):
            return images
        count, channels, height, width = images.shape
        pad = self.crop_padding
        padded = F.pad(images, (pad, pad, pad, pad))
        inside = None
        if self.rotation_degrees is None:
            rows = torch.arange(height, device=images.device).expand(count, -1)[:, :, None]
            columns = torch.arange(width, device=images.device).expand(count, -1)[:, None, :]
        else:
            rows, columns, inside = _rotated(height, width, draws.radians)
        columns = torch.where(draws.flipped[:, None, None], width - 1 - columns, columns)
        rows = rows + draws.down[:, None, None]
        columns = columns + draws.across[:, None, None]
        source = (rows * (width + 2 * pad) + columns).view(count, 1, height * width)
        out = padded.flatten(2).gather(2, source.expand(-1, channels, -1))
        out = out.view(images.shape)
        return out if inside is None else out * inside[:, None]


def _rotated(height: int, width: int, radians: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each output pixel comes from: rows, columns (int64, clamped), inside (uint8 0/1).

    All (N, H, W). Coordinates are measured from the centre of the image; ties go to even, as in
    grid_sample.
    """
    device = radians.device
    y = torch.arange(height, device=device, dtype=torch.float32)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=device, dtype=torch.float32) - (width - 1) / 2
    cos, sin = radians.cos()[:, None, None], radians.sin()[:, None, None]
    columns = (cos * x - sin * y + (width - 1) / 2).round().long()
    rows = (sin * x + cos * y + (height - 1) / 2).round().long()
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return rows.clamp(0, height - 1), columns.clamp(0, width - 1), inside.to(torch.uint8)


def _cut_out(images: Tensor, draws: Draws, side: int) -> Tensor:
    height, width = images.shape[-2:]
    rows = torch.arange(height, device=images.device) - (draws.cut_row[:, None] - side // 2)
    columns = torch.arange(width, device=images.device) - (draws.cut_column[:, None] - side // 2)
    in_rows = ((rows >= 0) & (rows < side))[:, None, :, None]
    in_columns = ((columns >= 0) & (columns < side))[:, None, None, :]
    return images.masked_fill_(in_rows & in_columns, 0.0)
