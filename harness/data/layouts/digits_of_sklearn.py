"""The 8x8 handwritten digits that ship with scikit-learn: the data set that is always there."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from harness.data.layouts.layout import Arrays
from harness.registry import DataSet

TEST_EVERY = 5  # of each class, in the file's order, the 1st, 6th, 11th, ... digit is for testing
GREY_LEVEL = 15  # the file counts 0..16; 17 levels x 15 spread them over 0..240 without rounding


class DigitsOfSklearn:
    """The one file that comes with the package, split by class."""

    def find(self, root: Path) -> Path | None:
        """Where the package lies, or None."""
        package = find_spec("sklearn")
        return None if package is None or not package.origin else Path(package.origin).parent

    def read(self, about: DataSet, folder: Path, split: str, side: int | None = None) -> Arrays:
        """A split: images (N, 1, 8, 8), N = 1433 (train) or 364 (test), in the file's order."""
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        seen_before = np.tril(labels[:, None] == labels[None, :], k=-1).sum(1)  # of the same class
        test = seen_before % TEST_EVERY == 0
        rows = test if split == "test" else ~test
        images = (pixels[rows] * GREY_LEVEL).astype(np.uint8).reshape(-1, 1, 8, 8)
        return Arrays(images, labels[rows].astype(np.int64))
