"""What happens to uint8 pixels between a data set and a model: size, channels, normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.errors import DataError

BLOCK = 1 << 19  # float32 values, 2 MiB: what a core keeps in its own cache
COUNT = {"rgb": 3, "bgr": 3, "gray": 1}
# ITU-R 601 luma in 16-bit fixed point, Pillow's weights for mode L; they add up to 65536.
_LUMA = (19595, 38470, 7471)


def resized(images: Tensor, side: int) -> Tensor:
    """Images at side x side by Pillow's bilinear filter, bit for bit: uint8 (N, C, side, side).

    What torchvision's Resize does to Pillow images. Runs once when a set is loaded: 22 us an image.
    """
    count, channels, height, width = images.shape
    if (height, width) == (side, side):
        return images
    planes = images.reshape(-1, height, width).numpy()
    out = np.empty((len(planes), side, side), np.uint8)
    for i, plane in enumerate(planes):
        out[i] = np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR))
    return torch.from_numpy(out).reshape(count, channels, side, side)


def in_channels(images: Tensor, channels: str) -> Tensor:
    """RGB or one-channel uint8 images (N, C, H, W) as "rgb", "bgr" or "gray" ones.

    Colour to gray uses Pillow's weights and rounding; gray to colour repeats the plane.
    """
    if channels not in COUNT:
        raise DataError(f"channels {channels!r} are unknown; use one of {', '.join(COUNT)}")
    if images.shape[1] == 1:
        return images.expand(-1, COUNT[channels], -1, -1)
    if channels == "bgr":
        return images.flip(1)
    if channels == "gray":
        weights = torch.tensor(_LUMA, dtype=torch.int32, device=images.device).view(1, 3, 1, 1)
        luma = (images.int() * weights).sum(1, keepdim=True, dtype=torch.int32)
        return ((luma + 0x8000) >> 16).to(torch.uint8)
    return images


class Normalise:
    """uint8 (N, C, H, W) -> float32 (x * scale / 255 - mean) / std, as one multiply and one add.

    scale: 1.0 or 255.0, the top of the range that mean and std refer to; they have one entry per
    channel, in the channel order the model sees. The constants are rounded once from float64.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(mean) != len(std) or not mean or min(std) <= 0:
            msg = f"mean {tuple(mean)} and std {tuple(std)} do not fit together"
            raise DataError(f"{msg}; give one mean and one positive std per channel")
        mean64 = torch.tensor(tuple(mean), dtype=torch.float64).view(1, -1, 1, 1)
        std64 = torch.tensor(tuple(std), dtype=torch.float64).view(1, -1, 1, 1)
        self.channels = len(mean)
        self._factor = (scale / 255 / std64).float().to(device)
        self._shift = (-mean64 / std64).float().to(device)

    def __call__(self, images: Tensor, out: Tensor | None = None) -> Tensor:
        """The normalised images; in `out`, float32 of the same shape, if it is given."""
        if images.shape[1] != self.channels:
            msg = f"images have {images.shape[1]} channels, the normalisation {self.channels}"
            raise DataError(f"{msg}; mean and std need one entry per channel")
        if out is None:
            out = torch.empty_like(images, dtype=torch.float32)
        # On a CPU a few images at a time stay in its cache: a fifth of the time for a whole batch.
        at_once = max(1, BLOCK // images.shape[1:].numel() if out.is_cpu else len(images))
        for part, normalised in zip(images.split(at_once), out.split(at_once), strict=True):
            normalised.copy_(part).mul_(self._factor).add_(self._shift)
        return out
