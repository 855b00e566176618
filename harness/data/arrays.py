"""What every layout reader hands back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


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
