from __future__ import annotations

import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.data.layouts import idx
from harness.errors import DataError
from harness.registry import data_set

COUNT = 12
KMNIST = replace(data_set("kmnist"), images={"test": COUNT})
FILES = idx.IdxFiles("KMNIST/raw")


def idx_bytes(array: np.ndarray) -> bytes:
    """The idx format by its definition: magic, big-endian sizes, bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, packed: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (COUNT, 28, 28), np.uint8)
    labels = rng.integers(0, 10, COUNT).astype(np.uint8)
    folder.mkdir(parents=True)
    for name, array in zip(idx.FILES["test"], (images, labels), strict=True):
        content = idx_bytes(array)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return images, labels


@pytest.mark.parametrize("packed", [False, True])
def test_raw_and_gzipped_files_give_what_was_written(tmp_path: Path, packed: bool) -> None:
    images, labels = write(tmp_path / "KMNIST/raw", packed)
    folder = FILES.find(tmp_path)
    assert folder is not None
    got = FILES.read(KMNIST, folder, "test")
    assert got.images.shape == (COUNT, 1, 28, 28)
    assert (got.images[:, 0] == images).all() and (got.labels == labels).all()


def test_find_gives_none_when_there_is_no_folder(tmp_path: Path) -> None:
    assert FILES.find(tmp_path) is None


BAD = {
    "wrong magic": (b"\x00\x00\x09\x01" + bytes(20), "starts with 00000901"),
    "html": (b"<!DOCTYPE html><html>quota</html>", "starts with 3c21444f"),
    "ends in header": (struct.pack(">HBB", 0, 8, 1) + b"\x00", "ends inside its header"),
    "other count": (idx_bytes(np.zeros(5, np.uint8)), r"shape \(5,\), expected \(12,\)"),
    "truncated": (idx_bytes(np.zeros(COUNT, np.uint8))[:-1], "only 19"),
    "too long": (idx_bytes(np.zeros(COUNT, np.uint8)) + b"\x00", "more than the 20 bytes"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_file_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    content, reason = BAD[case]
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        idx.parse(path, (COUNT,))


def test_a_cut_gzip_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.arange(COUNT, dtype=np.uint8)))[:-6])
    with pytest.raises(DataError, match="cannot be read"):
        idx.parse(path, (COUNT,))


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "raw", packed=False)
    labels = tmp_path / "raw" / idx.FILES["test"][1]
    labels.write_bytes(idx_bytes(np.full(COUNT, 10, np.uint8)))
    with pytest.raises(DataError, match="labels reach 10"):
        FILES.read(KMNIST, tmp_path / "raw", "test")
