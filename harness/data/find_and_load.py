"""Data sets by name: found, verified, fingerprinted, loaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness import paths
from harness.data import official_downloads
from harness.data.identity import ImageIdentity
from harness.data.layouts.class_folders import ClassFolders, PictureFolder
from harness.data.layouts.layout import Arrays, Layout
from harness.data.pixels import resized
from harness.errors import DataError, RegistryError
from harness.registry import DataSet, KnownCopy, data_set


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """One split, whole, as tensors.

    images: uint8 (N, C, H, W). labels: int64 (N,).
    """

    identity: ImageIdentity
    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def take(self, rows: Tensor) -> ImageSet:
        """The images at `rows` (int64), in that order; the identity stays the parent's."""
        return replace(self, images=self.images[rows], labels=self.labels[rows])


@dataclass(frozen=True, slots=True)
class PictureSet:
    """One split as picture files to be decoded on the way."""

    identity: ImageIdentity
    pictures: PictureFolder

    def take(self, rows: Tensor) -> PictureSet:
        """The pictures at `rows` (int64), in that order; the identity stays the parent's."""
        chosen = rows.tolist()
        files = tuple(self.pictures.files[row] for row in chosen)
        labels = tuple(self.pictures.labels[row] for row in chosen)
        return replace(self, pictures=replace(self.pictures, files=files, labels=labels))


def load(
    name: str,
    split: str,
    root: Path | str | None = None,
    *,
    size: int | None = None,
    download: bool = True,
) -> ImageSet:
    """A whole split in memory.

    size: side in pixels; pictures are squashed to size x size (bilinear, as Pillow does it).
    None = as stored (Flowers-102, whose pictures differ in size: 32).
    download: fetch the official files when none are found.
    Raises RegistryError for an unknown set or split, DataError when files are missing or damaged.
    """
    about = _with_split(name, split)
    if about.streamed:
        raise DataError(f"{name} is too large to load whole; use evaluation_batches, which streams")
    place = paths.data_root(root)
    layout: Layout = about.layout()
    folder = layout.find(place)
    if folder is None and download:
        official_downloads.fetch(about, place)
        folder = layout.find(place)
    if folder is None:
        raise DataError(official_downloads.missing(about, place))
    arrays = layout.read(about, folder, split, size)
    digest = arrays.fingerprint or fingerprint(arrays.images, arrays.labels)
    copy = _identified(about, split, arrays, digest)
    images = torch.from_numpy(np.ascontiguousarray(arrays.images))
    return ImageSet(
        identity=_identity(name, split, digest, copy, len(arrays.labels)),
        images=images if size is None else resized(images, size),
        labels=torch.from_numpy(arrays.labels),
    )


def find_pictures(name: str, split: str, root: Path | str | None = None) -> PictureSet:
    """The picture files of an ImageNet-like split, in class and name order.

    Raises RegistryError for an unknown set or split, DataError when there is no class folder tree.
    """
    about = _with_split(name, split)
    layout = about.layout()
    assert isinstance(layout, ClassFolders), f"{name} is no set of picture files"
    place = paths.data_root(root)
    pictures = layout.pictures(about, place, split)
    if pictures is None:
        raise DataError(official_downloads.missing(about, place))
    copy = about.copies.get(pictures.fingerprint) or _by_count(about, split, pictures)
    found = _identity(name, split, pictures.fingerprint, copy, len(pictures.files))
    return PictureSet(found, pictures)


def fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    """sha256 hex of image bytes (uint8, C order) followed by label bytes (int64 little-endian)."""
    digest = hashlib.sha256(np.ascontiguousarray(images, np.uint8).data)
    digest.update(np.ascontiguousarray(labels, "<i8").data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Whether a data set is here, and where; or the way to get it."""

    found: bool
    text: str  # "found ...", or "missing: ..."


def describe(name: str, root: Path | str | None = None) -> Whereabouts:
    """Where the data set called `name` is. Looks for folders only."""
    about = data_set(name)
    place = paths.data_root(root)
    found = about.layout().find(place)
    if found is not None:
        splits = [found / split for split in about.images if (found / split).is_dir()]
        return Whereabouts(True, f"found at {' and '.join(map(str, splits)) or found}")
    itself = "downloaded when it is first needed; by hand: " if about.downloads else ""
    return Whereabouts(False, f"missing: {itself}{official_downloads.remedy(about, place)}")


def _with_split(name: str, split: str) -> DataSet:
    about = data_set(name)
    if split not in about.images:
        raise RegistryError(f"{name} has no split {split!r}; it has {', '.join(about.images)}")
    return about


def _identity(name: str, split: str, digest: str, copy: KnownCopy, n_total: int) -> ImageIdentity:
    return ImageIdentity(
        dataset=name,
        split=split,
        fingerprint=digest,
        copy_name=copy.name,
        n_total=n_total,
        approximate_images=copy.approximate_images,
    )


def _identified(about: DataSet, split: str, arrays: Arrays, digest: str) -> KnownCopy:
    """Which copy of the set `arrays` are: by content, then by official md5, then by elimination."""
    if digest in about.copies:
        return about.copies[digest]
    if arrays.files and all(_has_official_md5(about, path) for path in arrays.files):
        return KnownCopy("official", 0)
    checkable = about.checkable.get(split)
    if checkable:
        keep = np.ones(len(arrays.labels), bool)
        keep[list(checkable.unknown)] = False
        if fingerprint(arrays.images[keep], arrays.labels[keep]) == checkable.fingerprint:
            open_rows = len(checkable.unknown)
            text = f"equals the official set in all but {open_rows} images, which were not checked"
            return KnownCopy(text, open_rows)
    return KnownCopy(arrays.copy_name, None)


def _has_official_md5(about: DataSet, path: Path) -> bool:
    want = about.md5.get(path.name)
    return want is not None and hashlib.md5(path.read_bytes()).hexdigest() == want


def _by_count(about: DataSet, split: str, pictures: PictureFolder) -> KnownCopy:
    """A copy judged by its numbers alone; a stand-in is never an official split."""
    found, expected = len(pictures.files), about.images[split]
    if about.own:
        msg = f"{about.name} {split}: the pictures changed since their protocol was measured"
        raise DataError(f"{msg}. Measure them anew: --dataset folder:{about.folder}")
    if found == expected and not about.stand_in:
        return KnownCopy("official in number of pictures and classes; bytes unchecked", 0)
    return KnownCopy(f"unknown copy of {found} pictures, expected {expected}", None)
