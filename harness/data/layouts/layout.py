"""How the files of a data set lie: what every layout does, and what it hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from harness.registry import DataSet


@dataclass(frozen=True, slots=True)
class Arrays:
    """A split as read.

    images: uint8 (N, C, H, W). labels: int64 (N,). files: what they were read from.
    copy_name: how to name the content when no fingerprint or md5 does.
    fingerprint: of the file list, for sets of picture files; None = hash the arrays.
    """

    images: np.ndarray
    labels: np.ndarray
    files: tuple[Path, ...] = ()
    copy_name: str = "unknown copy"
    fingerprint: str | None = None


class Layout(Protocol):
    """Finds a data set below a data root and reads it whole."""

    def find(self, root: Path) -> Path | None:
        """The folder to read from; None = it is not there."""

    def read(self, about: DataSet, folder: Path, split: str, side: int | None) -> Arrays:
        """A split of what lies in `folder`.

        side: pixels, for pictures that differ in size; None = the layout's own choice.
        Raises DataError when a file is missing or damaged.
        """
