"""MNIST, Fashion-MNIST and Kuzushiji-MNIST: the idx files of the MNIST family, gzipped or not."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from harness.data.layouts.layout import Arrays
from harness.errors import DataError
from harness.registry import DataSet

SIDE = 28
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_UINT8 = 0x08  # third byte of the magic number; the fourth is the number of dimensions


class IdxFiles:
    """The four files of the MNIST family, in one of several folders below the data root."""

    def __init__(self, *folders: str) -> None:
        self.folders = folders

    def find(self, root: Path) -> Path | None:
        """The first folder that holds the test images, or None."""
        test_images = FILES["test"][0]
        folders = (root / folder for folder in self.folders)
        return next((f for f in folders if _variant(f, test_images) is not None), None)

    def read(self, about: DataSet, folder: Path, split: str, side: int | None = None) -> Arrays:
        """A split: images (N, 1, 28, 28). Raises DataError if a file is missing or misshapen."""
        paths = []
        for name in FILES[split]:
            path = _variant(folder, name)
            if path is None:
                msg = f"{folder / name}[.gz]: missing, so the {split} split is incomplete"
                raise DataError(msg)
            paths.append(path)
        count = about.images[split]
        images = parse(paths[0], (count, SIDE, SIDE))
        labels = parse(paths[1], (count,)).astype(np.int64)
        if labels.max() >= about.classes:
            msg = f"{paths[1]}: labels reach {labels.max()}, expected at most {about.classes - 1}"
            raise DataError(f"{msg}; the file belongs to another set")
        return Arrays(images[:, None], labels, tuple(paths))


def parse(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of an idx file, which must have exactly `shape`.

    Raises DataError with expected and found shape or size.
    """
    header = 4 + 4 * len(shape)
    want = header + math.prod(shape)
    content = _content(path, want + 1)  # one byte more shows a file that is too long
    magic = struct.pack(">HBB", 0, _UINT8, len(shape))
    if content[:4] != magic:
        raise DataError(f"{path}: starts with {content[:4].hex()}, expected {magic.hex()} (idx)")
    if len(content) < header:
        raise DataError(f"{path}: ends inside its header; it is truncated, get it again")
    found = struct.unpack(f">{len(shape)}I", content[4:header])
    if found != shape:
        raise DataError(f"{path}: has shape {found}, expected {shape}; it belongs to another set")
    if len(content) != want:
        size = "more" if len(content) > want else f"only {len(content)}"
        raise DataError(f"{path}: {size} than the {want} bytes its header promises; get it again")
    return np.frombuffer(bytearray(content), np.uint8, offset=header).reshape(shape)


def _content(path: Path, at_most: int) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                return packed.read(at_most)
        with path.open("rb") as plain:
            return plain.read(at_most)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); get it again") from error


def _variant(folder: Path, name: str) -> Path | None:
    candidates = (folder / name, folder / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)
