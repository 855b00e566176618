"""Data sets of other packages: arrays, or torch data sets, given by a function of the split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.layouts.layout import Arrays
from harness.errors import DataError
from harness.registry import DataSet


class InMemory:
    """The layout of a set whose package reads it.

    load(split) gives (images, labels): uint8 (N, C, H, W) or (N, H, W), integers (N,); or a torch
    Dataset of (picture, label), whose pictures are Pillow's, or uint8 (C, H, W) or (H, W). None:
    whoever reads them is not here. advice: what a person corrects if they are not as promised.
    """

    def __init__(self, load: Callable[[str], Any] | None, advice: str = "") -> None:
        self._load = load
        self._advice = advice

    def find(self, root: Path) -> Path | None:
        """The data root: where the files lie is the package's own affair."""
        return None if self._load is None else root

    def read(self, about: DataSet, folder: Path, split: str, side: int | None = None) -> Arrays:
        """A split. Raises DataError for shapes, types or labels that `about` does not allow."""
        assert self._load is not None, "found nowhere"
        given = self._load(split)
        if not isinstance(given, tuple):
            pictures, given_labels = zip(*(given[i] for i in range(len(given))), strict=True)
            given = _stacked(about, pictures), given_labels
        images, labels = np.asarray(given[0]), np.asarray(given[1])
        if images.ndim == 3:
            images = images[:, None]
        page = about.page or "no page is named"
        _require(about, split, images, labels, self._advice or f"Correct its package ({page})")
        return Arrays(images, labels.astype(np.int64), (), "as its package reads it")


def _stacked(about: DataSet, pictures: tuple[Any, ...]) -> np.ndarray:
    arrays = [np.asarray(picture) for picture in pictures]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        msg = f"{about.name}: pictures of {len(shapes)} shapes, such as {sorted(shapes)[:2]}"
        raise DataError(f"{msg}. Resize them in the package, or use a folder: folder:PATH")
    stacked = np.stack(arrays)
    # Pillow's pictures have their channels last, tensors first.
    last = stacked.ndim == 4 and stacked.shape[1] not in (1, 3) and stacked.shape[3] in (1, 3)
    return stacked.transpose(0, 3, 1, 2) if last else stacked


def _require(
    about: DataSet, split: str, images: np.ndarray, labels: np.ndarray, advice: str
) -> None:
    where = f"{about.name} {split}"
    if images.dtype != np.uint8:
        raise DataError(f"{where}: images are {images.dtype}, expected uint8 0..255. {advice}")
    if images.ndim != 4 or images.shape[1] != about.channels:
        msg = f"{where}: images have shape {images.shape}, expected (N, {about.channels}, H, W)"
        raise DataError(f"{msg}. {advice}")
    if images.shape[2:] != (about.side, about.side):
        msg = f"{where}: images are {images.shape[2]} x {images.shape[3]} pixels"
        raise DataError(f"{msg}, its facts say {about.side} x {about.side}. {advice}")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        msg = f"{where}: labels are {labels.dtype} of shape {labels.shape}"
        raise DataError(f"{msg}, expected integers ({len(images)},). {advice}")
    if len(images) != about.images[split]:
        msg = f"{where}: {len(images)} images, its facts say {about.images[split]}"
        raise DataError(f"{msg}. {advice}")
    if labels.min() < 0 or labels.max() >= about.classes:
        msg = f"{where}: labels reach from {labels.min()} to {labels.max()}"
        raise DataError(f"{msg}, expected 0 to {about.classes - 1}. {advice}")
