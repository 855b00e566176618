"""How the native kernels lay feature maps out: one zero-padded plane per channel.

Pixel (h, w) of a plane lies at h * pitch + w; pitch exceeds the width, so that the zeros after a
line are both its right border and the left border of the next one, or of the next image beside it.
Before each plane lie `lead` more zeros, the border above it and below the plane before. A 3x3
convolution then reads shifted planes where they are, without a copy. No step ever writes anything
but zeros between the pixels, so memory can be handed on among values of one grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

VECTOR = 16  # floats; planes begin and end at multiples of it, whatever the processor's registers
SLACK = 16 * VECTOR  # floats after the last plane that a block of pixels may read


def rounded(count: int) -> int:
    """The next multiple of VECTOR."""
    return -(-count // VECTOR) * VECTOR


@dataclass(frozen=True)
class PlaneGrid:
    """height, width: of the pixels. gap: zeros after each line. lead: zeros before each plane.
    images: beside each other, each with its gap."""

    height: int
    width: int
    gap: int = 0
    lead: int = 0
    images: int = 1

    @property
    def apart(self) -> int:
        """Floats from one image to the next one beside it."""
        return self.width + self.gap

    @property
    def pitch(self) -> int:
        return self.images * self.apart

    @property
    def positions(self) -> int:
        """Floats of a plane that blocks of pixels run over."""
        return rounded(self.height * self.pitch)

    @property
    def plane(self) -> int:
        """Floats from one plane to the next."""
        return self.lead + self.positions

    def pixels(self) -> Tensor:
        """(positions,) bool: whether there is a pixel, not a zero between them."""
        place = torch.arange(self.positions)
        return (place < self.height * self.pitch) & (place % self.apart < self.width)


class Planes:
    """Memory for `count` times the grid's images of `channels` planes, zero between the pixels."""

    def __init__(self, grid: PlaneGrid, channels: int, count: int) -> None:
        self.grid, self.channels, self.count = grid, channels, count
        size, each = channels * grid.plane + grid.lead + SLACK, VECTOR * grid.images
        self.image = -(-size // each) * each  # every image beside others has a whole share of it
        self.memory = torch.zeros(count * self.image)

    @property
    def address(self) -> int:
        """Of pixel (0, 0) of the first plane of the first image."""
        return self.memory.data_ptr() + 4 * self.grid.lead

    @property
    def room(self) -> tuple[int, int]:
        """Bytes of an image before and after its pixel (0, 0) of channel 0."""
        return 4 * self.grid.lead, 4 * (self.image - self.grid.lead)

    def read(self, channels: int, count: int) -> Tensor:
        """(count, channels, H, W) in memory of its own."""
        images = torch.empty(count, channels, self.grid.height, self.grid.width)
        for place in range(self.grid.images):
            part = images[place :: self.grid.images]
            part.copy_(self._beside(place, part.shape))
        return images

    def write(self, images: Tensor) -> None:
        """images: (count, channels, H, W)."""
        for place in range(self.grid.images):
            part = images[place :: self.grid.images]
            self._beside(place, part.shape).copy_(part)

    def _beside(self, place: int, shape: torch.Size) -> Tensor:
        """A view of every image at one place in the lines."""
        grid = self.grid
        apart = (self.image, grid.plane, grid.pitch, 1)
        return self.memory.as_strided(shape, apart, grid.lead + place * grid.apart)
