"""CIFAR-10 and CIFAR-100 in the "python" (pickle) and "binary" layouts of their authors."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from harness.data.layouts.layout import Arrays
from harness.errors import DataError
from harness.registry import DataSet

PIXELS = 3 * 32 * 32


@dataclass(frozen=True, slots=True)
class CifarFiles:
    """CIFAR's files in either layout; the pickles win where both are there.

    folders: of the pickles, of the binary files. files: split -> names of the pickles; the binary
    ones end in .bin. label_key: of the labels in a pickle. label_bytes: before the pixels of a
    binary image; the last one is the label.
    """

    folders: tuple[str, str]
    files: Mapping[str, tuple[str, ...]]
    label_key: str
    label_bytes: int

    def find(self, root: Path) -> Path | None:
        """The folder below `root`, or None."""
        return next((root / name for name in self.folders if (root / name).is_dir()), None)

    def read(self, about: DataSet, folder: Path, split: str, side: int | None = None) -> Arrays:
        """A split, file after file in the official order.

        Raises DataError when a file is missing, truncated, of another shape, has labels outside
        0..classes-1, or (pickles) names a global outside the allow-list; nothing is executed.
        """
        binary = folder.name == self.folders[1]
        suffix = ".bin" if binary else ""
        paths = tuple(folder / f"{name}{suffix}" for name in self.files[split])
        rows = about.images[split] // len(paths)
        images = np.empty((len(paths) * rows, 3, 32, 32), np.uint8)
        labels = np.empty(len(paths) * rows, np.int64)
        for i, path in enumerate(paths):
            if not path.is_file():
                msg = f"{path}: missing, so the {split} split is incomplete; unpack it again"
                raise DataError(msg)
            here = slice(i * rows, (i + 1) * rows)
            if binary:
                data, labels[here] = _binary(path, rows, self.label_bytes)
            else:
                data, labels[here] = _pickled(path, rows, self.label_key)
            images[here] = data.reshape(rows, 3, 32, 32)
        _require_labels(labels, about.classes, folder)
        return Arrays(images, labels, paths)


def _require_labels(labels: np.ndarray, classes: int, folder: Path) -> None:
    if labels.min() < 0 or labels.max() >= classes:
        msg = f"{folder}: labels reach from {labels.min()} to {labels.max()}"
        raise DataError(f"{msg}, expected 0 to {classes - 1}; the files belong to another set")


def _binary(path: Path, rows: int, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    flat = np.fromfile(path, np.uint8)
    want = rows * (label_bytes + PIXELS)
    if flat.size != want:
        _refuse(path, f"{flat.size} bytes, expected {want}")
    table = flat.reshape(rows, -1)
    return table[:, label_bytes:], table[:, label_bytes - 1]


def _pickled(path: Path, rows: int, label_key: str) -> tuple[np.ndarray, list[int]]:
    batch = unpickle(path)
    if not isinstance(batch, dict):
        _refuse(path, f"holds a {type(batch).__name__}, expected a dict")
    fields = {k.decode("latin1") if isinstance(k, bytes) else k: v for k, v in batch.items()}
    data, labels = fields.get("data"), fields.get(label_key)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        _refuse(path, "has no uint8 array under 'data'")
    if data.shape != (rows, PIXELS):
        _refuse(path, f"'data' has shape {data.shape}, expected {(rows, PIXELS)}")
    if not isinstance(labels, list) or not all(type(v) is int for v in labels):
        _refuse(path, f"has no list of integers under {label_key!r}")
    if len(labels) != rows:
        _refuse(path, f"{len(labels)} labels for {rows} images")
    return data, labels


def unpickle(path: Path) -> Any:
    """The object in a batch pickle, built from arrays, strings, numbers and containers alone.

    Raises DataError naming the first global outside the allow-list, before it is imported.
    """
    with path.open("rb") as file:
        try:
            return _Unpickler(file, encoding="latin1").load()
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        except Exception as error:  # a damaged pickle can raise nearly anything
            msg = f"{path}: not a readable batch ({type(error).__name__}: {error})"
            raise DataError(f"{msg}; it is damaged or truncated, unpack it again") from error


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them under protocol 2; any other codec is refused."""
    if encoding != "latin1":
        raise DataError(f"asks for the codec {encoding!r}; only latin1 belongs in a batch")
    return text.encode("latin1")


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            msg = f"the pickle asks for {module}.{name}, which no batch needs; nothing was executed"
            raise DataError(f"{msg}. Do not trust this file; get the official one")
        return _ALLOWED[module, name]


def _refuse(path: Path, what: str) -> NoReturn:
    raise DataError(f"{path}: {what}; the file is truncated or belongs to another set")
