"""Batches to evaluate on: float32, normalised, on the device, every image once and in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.datasets import ImageSet, PictureSet, find_pictures, load
from harness.data.imagenet import decode, ordered_map
from harness.data.known import STREAMED
from harness.data.pixels import Normalise, in_channels
from harness.errors import ProtocolError
from harness.registry import Evaluation

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class EvaluationBatches:
    """Iterates (images float32 (B, C, H, W), labels int64 (B,)), both on the device.

    Iterating again starts over. len() is the number of batches.
    n: images delivered; n_total: images of the split. The other fields mean what ImageSet's do.
    """

    name: str
    split: str
    n: int
    n_total: int
    batch_size: int
    fingerprint: str
    copy_name: str
    approximate_images: int | None
    official: bool
    batches: Callable[[], Iterator[Batch]]

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()


def evaluation_batches(
    evaluation: Evaluation,
    root: Path | str | None,
    device: torch.device | str,
    batch_size: int,
    limit: int | None = None,
    *,
    download: bool = True,
) -> EvaluationBatches:
    """The batches that `evaluation` asks for.

    limit: use this many images, spread evenly over the split (folders are sorted by class, so the
    first ones would be of few classes); None = all.
    Sets that fit are held on the device as one uint8 tensor; ImageNet-like ones are streamed.
    Raises DataError when the data is missing or damaged, ProtocolError when the request is absurd.
    """
    if batch_size < 1 or (limit is not None and limit < 1):
        msg = f"batch size {batch_size} and limit {limit} must be positive"
        raise ProtocolError(f"{evaluation.name}: {msg}")
    if evaluation.dataset in STREAMED:
        pictures = find_pictures(evaluation.dataset, evaluation.split, root)
        return _streamed(pictures, evaluation, device, batch_size, limit)
    whole = load(
        evaluation.dataset, evaluation.split, root, size=evaluation.resize, download=download
    )
    return resident_batches(whole, evaluation, device, batch_size, limit)


def resident_batches(
    images: ImageSet,
    evaluation: Evaluation,
    device: torch.device | str,
    batch_size: int,
    limit: int | None = None,
) -> EvaluationBatches:
    """The batches of a set that is already loaded, such as a validation part of the train split.

    `images` must have the size that `evaluation` asks for. Raises ProtocolError if not.
    """
    side = images.images.shape[-1]
    if evaluation.crop not in (None, side) or evaluation.resize not in (None, side):
        msg = f"asks for resize {evaluation.resize} and crop {evaluation.crop}"
        raise ProtocolError(f"{evaluation.name}: {msg}, but {images.name} is held at {side} pixels")
    chosen = images if limit is None else images.take(_spread(len(images), limit))
    held = chosen.to(device)
    pixels = in_channels(held.images, evaluation.channels)
    normalise = Normalise(evaluation.mean, evaluation.std, evaluation.scale, device)

    def batches() -> Iterator[Batch]:
        parts = pixels.split(batch_size), held.labels.split(batch_size)
        for part, labels in zip(*parts, strict=True):
            yield normalise(part), labels

    return EvaluationBatches(
        name=images.name,
        split=images.split,
        n=len(held),
        n_total=len(images),
        batch_size=batch_size,
        fingerprint=images.fingerprint,
        copy_name=images.copy_name,
        approximate_images=images.approximate_images,
        official=images.official,
        batches=batches,
    )


def _streamed(
    source: PictureSet,
    evaluation: Evaluation,
    device: torch.device | str,
    batch_size: int,
    limit: int | None,
) -> EvaluationBatches:
    if evaluation.crop is None:
        msg = f"{evaluation.name}: no crop, but pictures of {source.name} differ in shape"
        raise ProtocolError(f"{msg}; give `crop`, the side of the centre square in pixels")
    total = len(source.pictures.files)
    rows = range(total) if limit is None else _spread(total, limit).tolist()
    normalise = Normalise(evaluation.mean, evaluation.std, evaluation.scale, device)

    def pixels_of(row: int) -> np.ndarray:
        file = source.pictures.files[row]
        return decode(file, evaluation.resize, evaluation.crop, evaluation.interpolation)

    def batches() -> Iterator[Batch]:
        labels = torch.tensor([source.pictures.labels[row] for row in rows]).to(device)
        decoded = ordered_map(pixels_of, rows, ahead=2 * batch_size)
        for part in labels.split(batch_size):
            images = stacked(itertools.islice(decoded, len(part)), device)
            yield normalise(in_channels(images, evaluation.channels)), part

    return EvaluationBatches(
        name=source.name,
        split=source.split,
        n=len(rows),
        n_total=total,
        batch_size=batch_size,
        fingerprint=source.pictures.fingerprint,
        copy_name=source.copy_name,
        approximate_images=source.approximate_images,
        official=source.official,
        batches=batches,
    )


def stacked(decoded: Iterator[np.ndarray], device: torch.device | str) -> Tensor:
    """Decoded pictures as one uint8 (N, C, H, W) tensor on `device`, copied without waiting."""
    batch = torch.from_numpy(np.stack(list(decoded)))
    if torch.device(device).type == "cuda":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)


def _spread(total: int, count: int) -> Tensor:
    """`count` row numbers spread evenly over 0..total-1, ascending; at most `total` of them."""
    count = min(count, total)
    return torch.arange(count) * total // count
