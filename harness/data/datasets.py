"""Data sets by name: found, verified, fingerprinted, loaded."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness import paths
from harness.data import cifar, digits, fetch, flowers, folder, idx
from harness.data.arrays import Arrays
from harness.data.identity import ImageIdentity
from harness.data.known import CHECKABLE, COPIES, SETS, STREAMED, Copy, Origin
from harness.data.pixels import resized
from harness.errors import DataError, RegistryError

FLOWERS_SIDE = 32  # pixels, when no size is asked for


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
    pictures: folder.PictureFolder


def names() -> list[str]:
    """Every data set the harness knows, sorted."""
    return sorted(SETS)


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
    origin = _origin(name, split)
    if name in STREAMED:
        raise DataError(f"{name} is too large to load whole; use evaluation_batches, which streams")
    place = paths.data_root(root)
    read = _READERS[name]
    arrays = read(origin, split, place, size)
    if arrays is None and download:
        fetch.fetch(origin, place)
        arrays = read(origin, split, place, size)
    if arrays is None:
        raise DataError(fetch.missing(origin, place))
    digest = arrays.fingerprint or fingerprint(arrays.images, arrays.labels)
    copy = _identify(origin, split, arrays, digest)
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
    origin = _origin(name, split)
    place = paths.data_root(root)
    split_folder = place / origin.folder / split
    if not split_folder.is_dir():
        raise DataError(fetch.missing(origin, place))
    pictures = folder.scan(split_folder, origin.classes)
    copy = COPIES.get(pictures.fingerprint) or _by_count(origin, split, pictures)
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
    origin = _origin(name)
    place = paths.data_root(root)
    if name == "digits":
        return Whereabouts(True, "found: ships with scikit-learn")
    found = _whereabouts(origin, place)
    if found:
        return Whereabouts(True, f"found at {found}")
    itself = "downloaded when it is first needed; by hand: " if origin.downloads else ""
    return Whereabouts(False, f"missing: {itself}{fetch.remedy(origin, place)}")


def _origin(name: str, split: str | None = None) -> Origin:
    if name not in SETS:
        near = difflib.get_close_matches(name, SETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names())}"
        raise RegistryError(f"no data set is called {name!r}; {hint}")
    origin = SETS[name]
    if split is not None and split not in origin.images:
        msg = f"{name} has no split {split!r}; it has {', '.join(origin.images)}"
        raise RegistryError(msg)
    return origin


def _identity(name: str, split: str, digest: str, copy: Copy, n_total: int) -> ImageIdentity:
    return ImageIdentity(
        dataset=name,
        split=split,
        fingerprint=digest,
        copy_name=copy.name,
        n_total=n_total,
        approximate_images=copy.approximate_images,
    )


def _identify(origin: Origin, split: str, arrays: Arrays, digest: str) -> Copy:
    """Which copy of the set `arrays` are: by content, then by official md5, then by elimination."""
    if digest in COPIES:
        return COPIES[digest]
    if arrays.files and all(_has_official_md5(origin, path) for path in arrays.files):
        return Copy("official", 0)
    checkable = CHECKABLE.get((origin.name, split))
    if checkable:
        keep = np.ones(len(arrays.labels), bool)
        keep[list(checkable.unknown)] = False
        if fingerprint(arrays.images[keep], arrays.labels[keep]) == checkable.fingerprint:
            open_rows = len(checkable.unknown)
            text = f"equals the official set in all but {open_rows} images, which were not checked"
            return Copy(text, open_rows)
    return Copy(arrays.copy_name, None)


def _has_official_md5(origin: Origin, path: Path) -> bool:
    want = origin.md5.get(path.name)
    return want is not None and hashlib.md5(path.read_bytes()).hexdigest() == want


def _by_count(origin: Origin, split: str, pictures: folder.PictureFolder) -> Copy:
    """A copy judged by its numbers alone; the sample set is never an official split."""
    if origin.name == "imagenet" and len(pictures.files) == origin.images[split]:
        return Copy("official in number of pictures and classes; bytes unchecked", 0)
    text = f"unknown copy of {len(pictures.files)} pictures, expected {origin.images[split]}"
    return Copy(text, None)


def _whereabouts(origin: Origin, place: Path) -> str | None:
    if origin.name in STREAMED:
        folders = [place / origin.folder / split for split in origin.images]
        return " and ".join(str(path) for path in folders if path.is_dir()) or None
    if origin.name in cifar.LAYOUTS:
        layout = cifar.find(origin.name, place)
        return str(place / layout.folder) if layout else None
    found = idx.find(origin.name, place) if origin.name in idx.FOLDERS else flowers.find(place)
    return str(found) if found else None


def _read_cifar(origin: Origin, split: str, root: Path, size: int | None) -> Arrays | None:
    layout = cifar.find(origin.name, root)
    return cifar.read(layout, split, root, origin.classes) if layout else None


def _read_idx(origin: Origin, split: str, root: Path, size: int | None) -> Arrays | None:
    place = idx.find(origin.name, root)
    return idx.read(place, split, origin.images[split], origin.classes) if place else None


def _read_flowers(origin: Origin, split: str, root: Path, size: int | None) -> Arrays | None:
    place = flowers.find(root)
    return flowers.read(place, split, size or FLOWERS_SIDE) if place else None


def _read_digits(origin: Origin, split: str, root: Path, size: int | None) -> Arrays | None:
    return digits.read(split)


_READERS: dict[str, Callable[[Origin, str, Path, int | None], Arrays | None]] = {
    "cifar10": _read_cifar,
    "cifar100": _read_cifar,
    "mnist": _read_idx,
    "fashion-mnist": _read_idx,
    "kmnist": _read_idx,
    "flowers102": _read_flowers,
    "digits": _read_digits,
}
