"""Batches to evaluate on: float32, normalised, on the device, every image once and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.data.decode_cache import cached
from harness.data.decoders import Transform, in_batches
from harness.data.find_and_load import ImageSet, PictureSet, find_pictures, load
from harness.data.identity import ImageIdentity
from harness.data.pixels import Normalise, in_channels
from harness.errors import ProtocolError
from harness.registry import Evaluation, data_set
from harness.system import CachePolicy, Progress, Silent

Batch = tuple[Tensor, Tensor]
Pixels = Iterator[tuple[Tensor, Tensor]]  # uint8 (B, C, H, W) and labels, anywhere


@dataclass(frozen=True, slots=True)
class EvaluationBatches:
    """Iterates (images float32 (B, C, H, W), labels int64 (B,)), both on the device.

    Iterating again starts over. len() is the number of batches.
    n: images delivered, of the identity's n_total.
    """

    identity: ImageIdentity
    n: int
    batch_size: int
    pixels: Callable[[int], Pixels]  # from that batch on
    prepare: Callable[[Tensor, Tensor | None], Tensor]

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for images, labels in self.pixels(0):
            yield self.prepare(images, None), labels

    def passing(self, start: int = 0) -> Iterator[Batch]:
        """Batches from number `start` on for a caller who keeps none: on a CPU each overwrites the
        one before.

        Fresh memory for every batch costs five times as much as normalising it.
        """
        room: Tensor | None = None
        for images, labels in self.pixels(start):
            whole = room is not None and len(room) == len(images) and room.is_cpu
            room = self.prepare(images, room if whole else None)
            yield room, labels


def find_images(
    evaluation: Evaluation, root: Path | str | None, *, download: bool = True
) -> ImageSet | PictureSet:
    """The split that `evaluation` asks for: whole in memory, or as a list of picture files.

    Raises DataError when the data is missing or damaged.
    """
    if data_set(evaluation.dataset).streamed:
        return find_pictures(evaluation.dataset, evaluation.split, root)
    return load(
        evaluation.dataset, evaluation.split, root, size=evaluation.resize, download=download
    )


def evaluation_batches(
    evaluation: Evaluation,
    root: Path | str | None,
    device: torch.device | str,
    batch_size: int,
    limit: int | None = None,
    *,
    download: bool = True,
    cache: CachePolicy = "read",
    progress: Progress | None = None,
) -> EvaluationBatches:
    """The batches that `evaluation` asks for: find_images, then batches_of."""
    _refuse_absurd(evaluation, batch_size, limit)
    source = find_images(evaluation, root, download=download)
    return batches_of(source, evaluation, device, batch_size, limit, cache=cache, progress=progress)


def batches_of(
    source: ImageSet | PictureSet,
    evaluation: Evaluation,
    device: torch.device | str,
    batch_size: int,
    limit: int | None = None,
    *,
    cache: CachePolicy = "read",
    progress: Progress | None = None,
) -> EvaluationBatches:
    """The images of `source`, prepared as `evaluation` asks for.

    limit: use this many images, spread evenly over the split (folders are sorted by class, so the
    first ones would be of few classes); None = all.
    Sets that fit are held on the device as one uint8 tensor. Pictures come from the cache of
    decoded ones, which is built now if `cache` says so, or are decoded on the way.
    Raises DataError when a picture cannot be read, ProtocolError when the request is absurd.
    """
    _refuse_absurd(evaluation, batch_size, limit)
    if isinstance(source, ImageSet):
        return resident_batches(source, evaluation, device, batch_size, limit)
    return _picture_batches(
        source, evaluation, device, batch_size, limit, cache, progress or Silent()
    )


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
        raise ProtocolError(
            f"{evaluation.name}: {msg}, but {images.identity.dataset} is held at {side} pixels"
        )
    chosen = images if limit is None else images.take(spread_rows(len(images), limit))
    resident = chosen.to(device)
    whole = in_channels(resident.images, evaluation.channels)

    def pixels(start: int) -> Pixels:
        parts = whole.split(batch_size), resident.labels.split(batch_size)
        return zip(*(part[start:] for part in parts), strict=True)

    return EvaluationBatches(
        identity=replace(images.identity, n_total=len(images)),  # of a part: the part's
        n=len(resident),
        batch_size=batch_size,
        pixels=pixels,
        prepare=Normalise(evaluation.mean, evaluation.std, evaluation.scale, device),
    )


def _picture_batches(
    source: PictureSet,
    evaluation: Evaluation,
    device: torch.device | str,
    batch_size: int,
    limit: int | None,
    cache: CachePolicy,
    progress: Progress,
) -> EvaluationBatches:
    if evaluation.crop is None:
        msg = (
            f"{evaluation.name}: no crop, but pictures of {source.identity.dataset} differ in shape"
        )
        raise ProtocolError(f"{msg}; give `crop`, the side of the centre square in pixels")
    pictures = source.pictures
    total = len(pictures.files)
    rows = None if limit is None or limit >= total else spread_rows(total, limit).numpy()
    transform = Transform(evaluation.resize, evaluation.crop, evaluation.interpolation)
    cache_pixels = cached(source, transform, cache, rows is None, progress)
    files = pictures.files if rows is None else [pictures.files[row] for row in rows]
    labels = torch.tensor(pictures.labels)
    chosen = (labels if rows is None else labels[torch.from_numpy(rows)]).to(device)

    def pixels(start: int) -> Pixels:
        first = start * batch_size
        if cache_pixels is None:
            decoded = in_batches(files[first:], transform, batch_size)
        else:
            decoded = _from_cache(cache_pixels, rows, batch_size, first)
        for batch, part in zip(decoded, chosen.split(batch_size)[start:], strict=True):
            yield in_channels(on_device(batch, device), evaluation.channels), part

    return EvaluationBatches(
        identity=source.identity,
        n=len(files),
        batch_size=batch_size,
        pixels=pixels,
        prepare=Normalise(evaluation.mean, evaluation.std, evaluation.scale, device),
    )


def _from_cache(
    cache_pixels: np.ndarray, rows: np.ndarray | None, batch_size: int, first: int
) -> Iterator[np.ndarray]:
    """Pictures of the cache from `first` on, all or those at `rows`; not copied if all."""
    count = len(cache_pixels) if rows is None else len(rows)
    for start in range(first, count, batch_size):
        stop = start + batch_size
        yield cache_pixels[start:stop] if rows is None else cache_pixels[rows[start:stop]]


def on_device(batch: np.ndarray, device: torch.device | str) -> Tensor:
    """A uint8 array as a tensor on `device`, copied without waiting where that is possible."""
    images = torch.from_numpy(batch)
    if torch.device(device).type == "cuda":
        return images.pin_memory().to(device, non_blocking=True)
    return images.to(device)


def stacked(decoded: Iterator[np.ndarray], device: torch.device | str) -> Tensor:
    """Decoded pictures as one uint8 (N, C, H, W) tensor on `device`."""
    return on_device(np.stack(list(decoded)), device)


def _refuse_absurd(evaluation: Evaluation, batch_size: int, limit: int | None) -> None:
    if batch_size < 1 or (limit is not None and limit < 1):
        msg = f"batch size {batch_size} and limit {limit} must be positive"
        raise ProtocolError(f"{evaluation.name}: {msg}")


def spread_rows(total: int, count: int) -> Tensor:
    """`count` row numbers spread evenly over 0..total-1, ascending; at most `total` of them."""
    count = min(count, total)
    return torch.arange(count) * total // count
