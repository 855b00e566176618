"""Images that a loader hands out, as a data set with a protocol of its own: `harness.Images`.

A protocol names pixels and how they are prepared, so both are told apart here: what a loader gives
is taken back to the whole numbers it was made of, and what it subtracted and divided by is stated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.layouts.in_memory import InMemory
from harness.data.own_data import Note, keep_given
from harness.errors import DataError
from harness.registry import DataSet, is_id, make_known

WHOLE = 0.01  # of a pixel's 256 steps: further from a whole number is no rounding of float32
Batches = Iterable[Any]  # of (images, targets): a DataLoader, or what goes like one
Split = tuple[np.ndarray, np.ndarray]  # uint8 (N, C, H, W) and int64 (N,)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images of one's own behind loaders, and the facts that a protocol needs.

    name: of the data set from now on: lower case letters, digits, '-' and dots.
    classes: targets are 0 .. classes - 1.
    test: iterable of (images, targets), such as a DataLoader that neither shuffles nor augments;
    what is evaluated. train: likewise, for what trains or prunes; its order does not matter, and
    augmentation is the recipe's affair. images: (B, C, H, W) or (B, H, W), square, one or three
    channels, uint8 0..255 or float; targets: integers (B,). Each loader is gone through once and
    its pixels are held in memory.
    mean, std: one per channel. Of float images: what the loader subtracted and divided by, on the
    scale 0..1; networks see what it gives, and without them they see 0..1. Of uint8 images: how
    they are prepared; without them as measured on `train`.

    The protocol is kept in the home folder; other pixels, mean or std are its next version.
    """

    name: str
    classes: int
    test: Batches
    train: Batches | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def known_as(self, note: Note = str) -> str:
        """Read the loaders and make the data set known to this process; its name.

        note: hears what was measured. Raises DataError for what is not as described above.
        """
        if not is_id(self.name):
            msg = f"{self.name!r} cannot be the name of a data set"
            raise DataError(f"{msg}: lower case letters, digits, '-' and dots, such as my-images")
        if not isinstance(self.classes, int) or self.classes < 2:
            raise DataError(f"{self.name}: {self.classes} classes; a classifier needs two or more")
        if (self.mean is None) != (self.std is None):
            raise DataError(f"{self.name}: mean and std belong together; state both or neither")
        given = {"train": self.train, "test": self.test}
        loaders = {split: loader for split, loader in given.items() if loader is not None}
        collected = {split: self._collected(split, loader) for split, loader in loaders.items()}
        splits = {split: arrays for split, (arrays, _) in collected.items()}
        floats = {is_float for _, is_float in collected.values()}
        if len(floats) > 1:
            raise DataError(f"{self.name}: one of train and test gives floats, the other uint8")
        if "train" in splits:
            splits["train"] = _in_any_order(*splits["train"])
        channels, height, width = splits["test"][0].shape[1:]
        if height != width or channels not in (1, 3):
            msg = f"{self.name}: images of {channels} channels, {height} x {width} pixels"
            raise DataError(f"{msg}; one or three channels and a square are needed")
        make_known(self._facts(splits, channels, height))
        keep_given(self.name, self._preparation(floats.pop(), channels), note)
        return self.name

    def _facts(self, splits: Mapping[str, Split], channels: int, side: int) -> DataSet:
        return DataSet(
            name=self.name,
            title=self.name,
            classes=self.classes,
            channels=channels,
            side=side,
            images={split: len(labels) for split, (_, labels) in splits.items()},
            layout=lambda: InMemory(splits.__getitem__, "Correct the loader"),
            own=True,
        )

    def _preparation(
        self, is_float: bool, channels: int
    ) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and std by channel; None = to be measured on the training images."""
        if self.mean is not None and self.std is not None:
            return self.mean, self.std
        if is_float:
            return (0.0,) * channels, (1.0,) * channels
        if self.train is None:
            msg = f"{self.name}: uint8 test images, no training images to measure on"
            raise DataError(f"{msg}. State mean and std, one number per channel")
        return None

    def _collected(self, split: str, loader: Batches) -> tuple[Split, bool]:
        """The pixels and targets of a loader, and whether it gives floats."""
        where = f"{self.name} {split}"
        pictures, labels, floats = [], [], set()
        for batch in loader:
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                msg = f"{where}: the loader gives {type(batch).__name__}, not (images, targets)"
                raise DataError(f"{msg}. Wrap a Dataset in torch.utils.data.DataLoader")
            images, targets = _tensor(batch[0], where), _tensor(batch[1], where)
            if images.ndim not in (3, 4) or targets.shape != images.shape[:1]:
                msg = f"{where}: images {tuple(images.shape)} with targets {tuple(targets.shape)}"
                raise DataError(f"{msg}, expected (B, C, H, W) and (B,). Is it a DataLoader?")
            images = images[:, None] if images.ndim == 3 else images
            floats.add(images.is_floating_point())
            pictures.append(self._pixels(images, where))
            labels.append(targets.numpy())
        if not labels or len(floats) > 1:
            what = "floats and uint8 in turns" if labels else "no batch"
            raise DataError(f"{where}: the loader gives {what}; go through it: next(iter(loader))")
        if len({batch.shape[1:] for batch in pictures}) > 1:
            shapes = sorted({tuple(batch.shape[1:]) for batch in pictures})
            raise DataError(f"{where}: pictures of several shapes, {shapes[0]} and {shapes[1]}")
        return (np.concatenate(pictures), np.concatenate(labels)), floats.pop()

    def _pixels(self, images: Tensor, where: str) -> np.ndarray:
        """uint8 (B, C, H, W) of a batch as the loader gives it."""
        channels = images.shape[1]
        for what, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != channels:
                msg = f"{where}: {len(values)} values of {what} for {channels} channels"
                raise DataError(f"{msg}; state one per channel")
        if images.dtype == torch.uint8:
            return images.numpy()
        if not images.is_floating_point():
            raise DataError(f"{where}: images are {images.dtype}; expected uint8 or float")
        mean = torch.tensor(self.mean or [0.0] * channels, dtype=torch.float64)[:, None, None]
        std = torch.tensor(self.std or [1.0] * channels, dtype=torch.float64)[:, None, None]
        steps = (images.double() * std + mean) * 255
        whole = steps.round()
        fits = ((steps - whole).abs() <= WHOLE) & (whole >= 0) & (whole <= 255)  # NaN does not
        if not fits.all():
            odd = images[~fits][0].item()
            msg = f"{where}: {odd:.6g} is no pixel of 0..255 after (x * std + mean) * 255"
            raise DataError(f"{msg}. State the loader's mean and std, or give uint8")
        return whole.to(torch.uint8).numpy()


def _tensor(values: object, where: str) -> Tensor:
    try:
        return torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"{where}: the loader gives {type(values).__name__}, of which no tensor can be made"
        raise DataError(f"{msg}: {error}") from error


def _in_any_order(images: np.ndarray, labels: np.ndarray) -> Split:
    """The same images sorted by content: a loader that shuffles gives the same set every time."""
    order = sorted(range(len(labels)), key=lambda row: (labels[row], images[row].tobytes()))
    return images[order], labels[order]
