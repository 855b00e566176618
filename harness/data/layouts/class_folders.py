"""Picture files in class folders: <split>/<class>/<picture>."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError
from harness.registry import DataSet

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


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """A folder per split, in it one per class; or the class folders alone, to be split here."""

    folder: str  # below the data root, or anywhere
    train_frac: float | None = None  # share of each class for "train", the rest is "val"

    def find(self, root: Path) -> Path | None:
        """The folder that holds the splits, or None."""
        place = root / self.folder
        return place if place.is_dir() and visible_folders(place) else None

    def pictures(self, about: DataSet, root: Path, split: str) -> PictureFolder | None:
        """The pictures of a split; None if it is not there. Raises DataError as `scan` does."""
        place = root / self.folder
        if self.train_frac is not None:
            return part_of(scan(place, about.classes), self.train_frac, split)
        return scan(place / split, about.classes) if (place / split).is_dir() else None


def scan(split_folder: Path, classes: int) -> PictureFolder:
    """The pictures below `split_folder`; hidden files and folders are no part of it.

    Raises DataError unless there are exactly `classes` class folders, none of them empty: one
    missing folder would shift the class index of all that follow.
    """
    names = visible_folders(split_folder)
    if len(names) != classes:
        msg = f"{split_folder}: {len(names)} class folders, expected {classes}"
        raise DataError(f"{msg}; pictures must lie in one folder per class")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        pictures = pictures_in(split_folder / name)
        files += pictures
        labels += [label] * len(pictures)
    return PictureFolder(tuple(files), tuple(labels), tuple(names), list_hash(files, labels))


def part_of(whole: PictureFolder, train_frac: float, split: str) -> PictureFolder:
    """The train or val part of pictures without a split: round(frac * n) of each class, 1 at least.

    A picture's rank is the hash of its class and name, so the order of names says nothing about
    the part it falls into, and the same names are always split the same way.
    """
    chosen: list[int] = []
    for label in range(len(whole.classes)):
        rows = [row for row, of in enumerate(whole.labels) if of == label]
        by_hash = sorted(rows, key=lambda row: _name_hash(whole.files[row]))
        count = min(max(round(train_frac * len(rows)), 1), len(rows) - 1)
        chosen += sorted(by_hash[:count] if split == "train" else by_hash[count:])
    files = tuple(whole.files[row] for row in chosen)
    labels = tuple(whole.labels[row] for row in chosen)
    return PictureFolder(files, labels, whole.classes, list_hash(files, labels))


def _name_hash(path: Path) -> str:
    return hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).hexdigest()


def visible_folders(folder: Path) -> list[str]:
    """Names of the folders in `folder`, sorted, without hidden ones: .ipynb_checkpoints."""
    return sorted(e.name for e in folder.iterdir() if not _hidden(e) and e.is_dir())


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a class by name, without hidden files: the ._x.JPEG of a Mac is none.

    Raises DataError if there are none.
    """
    pictures = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not _hidden(path)
    )
    if not pictures:
        raise DataError(f"{folder}: no picture; add some, or leave the class out of every split")
    return pictures


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def list_hash(files: Sequence[Path], labels: Sequence[int]) -> str:
    """sha256 hex over folder, name, size in bytes and label of every file, in order."""
    digest = hashlib.sha256()
    for path, label in zip(files, labels, strict=True):
        size = path.stat().st_size
        digest.update(f"{path.parent.name}/{path.name} {size} {label}\n".encode())
    return digest.hexdigest()
