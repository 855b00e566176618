"""Training batches whose order and draws depend on the seed and the epoch alone.

Nothing has to be stored to resume: epoch(e, start) gives the same batches at any time, on any
device, and rank r of w gets its share of the very batch one process would get.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.data.augment import Augment
from harness.data.batches import Batch, stacked
from harness.data.decoding import FILTERS, decode, opened, ordered_map
from harness.data.find_and_load import ImageSet, PictureSet
from harness.data.pixels import Normalise, in_channels
from harness.errors import ProtocolError

# torchvision's RandomResizedCrop: share of the area, aspect ratio, tries before it gives up.
AREA = (0.08, 1.0)
LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))
TRIES = 10


@dataclass(frozen=True, slots=True)
class Share:
    """Sizes of an epoch, and the part of each global batch that belongs to one rank.

    count: images per epoch. batch_size: of the global batch, over all ranks.
    Raises ProtocolError when some rank would get an empty batch.
    """

    count: int
    batch_size: int
    drop_last: bool = False
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ProtocolError(f"rank {self.rank} is not one of {self.world_size} processes")
        if self.batch_size < 1 or len(self) == 0:
            msg = f"batch size {self.batch_size} gives no step with {self.count} images"
            raise ProtocolError(f"{msg} (drop_last={self.drop_last}); choose another batch size")
        smallest = min(self.global_size(0), self.global_size(len(self) - 1))
        if smallest < self.world_size:
            msg = f"a batch of {smallest} images cannot be shared by {self.world_size} processes"
            raise ProtocolError(f"{msg}; use drop_last or another batch size")

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def global_size(self, step: int) -> int:
        """Images of `step` over all ranks; only the last step can have fewer than batch_size."""
        return min(self.batch_size, self.count - step * self.batch_size)

    def bounds(self, step: int) -> tuple[int, int]:
        """First and one-past-last position of this rank's images within the epoch's order."""
        start, size = step * self.batch_size, self.global_size(step)
        first = start + self.rank * size // self.world_size
        return first, start + (self.rank + 1) * size // self.world_size


def generator_for(seed: int, *where: int) -> torch.Generator:
    """A CPU generator that depends on its arguments alone; neighbours are unrelated."""
    text = "/".join(str(number) for number in (seed, *where))
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class TrainBatches:
    """Augmented batches of a set held on the device as one uint8 tensor.

    batch_size: of the global batch; this rank yields its share. The last, smaller batch is kept
    unless drop_last; when it does not divide by world_size, weight the loss of a rank with
    len(labels) * world_size / share.global_size(step).
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        augment: Augment | None = None,
        drop_last: bool = False,
        channels: str = "rgb",
        scale: float = 1.0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.share = Share(len(images), batch_size, drop_last, rank, world_size)
        self.seed = seed
        self.augment = augment or Augment()
        self._device = device
        self._pixels = in_channels(images.images.to(device), channels)
        self._labels = images.labels.to(device)
        self._normalise = Normalise(mean, std, scale, device)

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.share)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """(images float32, labels int64) for steps start, start + 1, ... of `epoch`."""
        count, _, height, width = self._pixels.shape
        generator = generator_for(self.seed, epoch)
        order = torch.randperm(count, generator=generator).to(self._device)
        draws = self.augment.draw(count, height, width, generator).to(self._device)
        for step in range(start, len(self)):
            first, last = self.share.bounds(step)
            rows = order[first:last]
            images = self.augment(self._pixels[rows], draws.rows(first, last), self._normalise)
            yield images, self._labels[rows]


class FolderTrainBatches:
    """Training batches decoded from picture files by threads; same interface as TrainBatches.

    resize None: RandomResizedCrop(crop) as torchvision draws it. resize given: the deterministic
    Resize + CenterCrop of evaluation, for protocols that train without random crops.
    flip: mirrored left to right with probability 1/2.
    """

    def __init__(
        self,
        source: PictureSet,
        *,
        batch_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int,
        crop: int = 224,
        resize: int | None = None,
        flip: bool = True,
        interpolation: str = "bilinear",
        drop_last: bool = False,
        channels: str = "rgb",
        scale: float = 1.0,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        pictures = source.pictures
        self.share = Share(len(pictures.files), batch_size, drop_last, rank, world_size)
        self.seed = seed
        self._files = pictures.files
        self._labels = torch.tensor(pictures.labels)
        self._crop, self._resize, self._flip = crop, resize, flip
        self._interpolation = interpolation
        self._channels = channels
        self._device = device
        self._normalise = Normalise(mean, std, scale, device)

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self.share)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """(images float32, labels int64) for steps start, start + 1, ... of `epoch`."""
        order = torch.randperm(len(self._files), generator=generator_for(self.seed, epoch))
        decoded = ordered_map(
            self._decode, self._jobs(order, epoch, start), ahead=2 * self.share.batch_size
        )
        for step in range(start, len(self)):
            first, last = self.share.bounds(step)
            images = stacked(itertools.islice(decoded, last - first), self._device)
            labels = self._labels[order[first:last]].to(self._device)
            yield self._normalise(in_channels(images, self._channels)), labels

    def _jobs(self, order: Tensor, epoch: int, start: int) -> Iterator[tuple[int, np.ndarray]]:
        """(row, uniforms) of every picture this rank decodes; drawn for the global batch."""
        for step in range(start, len(self)):
            begin, size = step * self.share.batch_size, self.share.global_size(step)
            generator = generator_for(self.seed, epoch, step)
            uniforms = torch.rand(size, 2 * TRIES + 3, generator=generator, dtype=torch.float64)
            first, last = self.share.bounds(step)
            for place in range(first, last):
                yield int(order[place]), uniforms[place - begin].numpy()

    def _decode(self, job: tuple[int, np.ndarray]) -> np.ndarray:
        row, uniforms = job
        if self._resize is not None:
            pixels = decode(self._files[row], self._resize, self._crop, self._interpolation)
        else:
            pixels = self._random_crop(row, uniforms)
        return pixels[:, :, ::-1] if self._flip and uniforms[-1] < 0.5 else pixels

    def _random_crop(self, row: int, uniforms: np.ndarray) -> np.ndarray:
        picture = opened(self._files[row])
        part = picture.crop(resized_crop_box(*picture.size, uniforms))
        method: Image.Resampling = FILTERS[self._interpolation]
        return np.asarray(part.resize((self._crop, self._crop), method)).transpose(2, 0, 1)


def resized_crop_box(width: int, height: int, uniforms: np.ndarray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random crop, distributed as in RandomResizedCrop.

    uniforms: at least 22 numbers in [0, 1): area and log aspect ratio of ten tries, then place.
    When no try fits into the picture: the largest centred box with an allowed ratio.
    """
    for area_draw, ratio_draw in uniforms[: 2 * TRIES].reshape(TRIES, 2):
        area = width * height * (AREA[0] + (AREA[1] - AREA[0]) * area_draw)
        ratio = math.exp(LOG_RATIO[0] + (LOG_RATIO[1] - LOG_RATIO[0]) * ratio_draw)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left = int(uniforms[2 * TRIES] * (width - w + 1))
            top = int(uniforms[2 * TRIES + 1] * (height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * math.exp(LOG_RATIO[1])))
    h = min(height, round(width / math.exp(LOG_RATIO[0])))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h
