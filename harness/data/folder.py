"""Picture files in class folders: <split>/<class>/<picture>."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"))


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """The pictures of one split, by class and then by name.

    files: paths. labels: class index of each = rank of its folder's name in sorted order.
    fingerprint: sha256 over "<class>/<name> <bytes> <label>" lines. It covers names, order, sizes
    and labels, not the pixels: reading 7 GB to name a set would cost more than evaluating on it.
    """

    files: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    fingerprint: str


def scan(split_folder: Path, classes: int) -> PictureFolder:
    """The pictures below `split_folder`.

    Raises DataError unless there are exactly `classes` class folders, none of them empty: one
    missing folder would shift the class index of all that follow.
    """
    names = sorted(entry.name for entry in split_folder.iterdir() if entry.is_dir())
    if len(names) != classes:
        msg = f"{split_folder}: {len(names)} class folders, expected {classes}"
        raise DataError(f"{msg}; pictures must lie in one folder per class")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        pictures = sorted(
            path for path in (split_folder / name).iterdir() if path.suffix.lower() in SUFFIXES
        )
        if not pictures:
            raise DataError(f"{split_folder / name}: no picture; the class would go untested")
        files += pictures
        labels += [label] * len(pictures)
    return PictureFolder(tuple(files), tuple(labels), tuple(names), list_hash(files, labels))


def list_hash(files: Sequence[Path], labels: Sequence[int]) -> str:
    """sha256 hex over folder, name, size in bytes and label of every file, in order."""
    digest = hashlib.sha256()
    for path, label in zip(files, labels, strict=True):
        size = path.stat().st_size
        digest.update(f"{path.parent.name}/{path.name} {size} {label}\n".encode())
    return digest.hexdigest()
