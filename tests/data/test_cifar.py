from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data import Arrays, find_and_load, load
from harness.data.layouts import cifar
from harness.errors import DataError
from harness.registry import CheckableRows, DataSet, data_set

ROWS = 7  # images per file in the small layouts written here


def small(name: str) -> DataSet:
    """The data set with ROWS images in every file."""
    files = data_set(name).layout().files
    return dataclasses.replace(
        data_set(name), images={split: ROWS * len(files[split]) for split in files}
    )


def read(root: Path, name: str, split: str = "test") -> Arrays:
    """A split of the small set below `root`."""
    about = small(name)
    layout = about.layout()
    folder = layout.find(root)
    assert folder is not None
    found: Arrays = layout.read(about, folder, split)
    return found


def contents(name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """File stem -> (data (ROWS, 3072), labels), the same for both layouts of a set."""
    rng = np.random.default_rng(0)
    about = small(name)
    files = about.layout().files
    stems = [stem for split in ("train", "test") for stem in files[split]]
    return {
        stem: (
            rng.integers(0, 256, (ROWS, 3072), np.uint8),
            rng.integers(0, about.classes, ROWS),
        )
        for stem in stems
    }


def write_pickle(path: Path, batch: dict[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(batch, protocol=2))


def write_set(root: Path, name: str, binary: bool, keys: type = str) -> Path:
    """The files of a small set; the folder they lie in."""
    layout = data_set(name).layout()
    folder = root / layout.folders[binary]
    folder.mkdir(parents=True)
    for stem, (data, labels) in contents(name).items():
        if binary:
            coarse = [np.full((ROWS, 1), 99, np.uint8)] * (layout.label_bytes - 1)
            table = np.hstack([*coarse, labels[:, None].astype(np.uint8), data])
            (folder / f"{stem}.bin").write_bytes(table.tobytes())
        else:
            batch = {"data": data, layout.label_key: labels.tolist(), "batch_label": "x"}
            named = {k.encode(): v for k, v in batch.items()} if keys is bytes else batch
            write_pickle(folder / stem, named)
    return folder


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize(("binary", "keys"), [(False, str), (False, bytes), (True, str)])
def test_every_layout_gives_what_was_written(
    tmp_path: Path, name: str, split: str, binary: bool, keys: type
) -> None:
    write_set(tmp_path, name, binary, keys)
    got = read(tmp_path, name, split)
    written = contents(name)
    stems = data_set(name).layout().files[split]
    data = np.concatenate([written[stem][0] for stem in stems])
    assert (got.labels == np.concatenate([written[stem][1] for stem in stems])).all()
    # Red plane, then green, then blue, each row by row.
    assert got.images[3, 2, 5, 11] == data[3, 2 * 1024 + 5 * 32 + 11]
    assert (got.images.reshape(len(data), -1) == data).all()
    assert got.images.dtype == np.uint8 and got.labels.dtype == np.int64


def test_pickles_written_by_python_2_are_read(tmp_path: Path) -> None:
    pixels = bytes(range(256)) * 12
    batch = {"data": np.frombuffer(pixels, np.uint8).reshape(1, 3072), "labels": [3]}
    modern = pickle.dumps(batch, protocol=2)
    # Python 2 wrote byte strings as they are (opcode U), and numpy 1 called its module core.
    text = pixels.decode("latin1").encode()
    as_text = b"c_codecs\nencode\n" in modern and text in modern
    assert as_text, "the rewriting below expects protocol-2 bytes as encoded text"
    old = bytearray(b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n")
    old += b"cnumpy\nndarray\n(K\x00tU\x01btR(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\n"
    old += b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
    old += len(pixels).to_bytes(4, "little") + pixels + b"tbU\x06labels](K\x03eu."
    old = old.replace(b"(K\x00tU\x01btR", b"K\x00\x85U\x01b\x87R")
    (tmp_path / "test_batch").write_bytes(old)
    got = cifar.unpickle(tmp_path / "test_batch")
    assert got["data"].tobytes() == pixels and got["labels"] == [3]


class Harm:
    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.sign}",)


def test_a_pickle_that_asks_for_code_is_refused_and_nothing_happens(tmp_path: Path) -> None:
    sign = tmp_path / "executed"
    folder = write_set(tmp_path, "cifar10", binary=False)
    write_pickle(folder / "test_batch", {"data": Harm(sign)})
    with pytest.raises(DataError, match=r"test_batch.*(posix|nt)\.system.*nothing was executed"):
        read(tmp_path, "cifar10")
    assert not sign.exists()


class Codec:
    def __reduce__(self) -> tuple[Any, ...]:
        import _codecs

        return _codecs.encode, ("text", "rot13")


def test_only_the_latin1_codec_is_available_to_a_pickle(tmp_path: Path) -> None:
    write_pickle(tmp_path / "b", {"data": Codec()})
    with pytest.raises(DataError, match="rot13"):
        cifar.unpickle(tmp_path / "b")


GOOD = {"data": np.zeros((ROWS, 3072), np.uint8), "labels": [0] * ROWS}
BAD_BATCHES = {
    "pixels missing": ({**GOOD, "data": np.zeros((ROWS, 3071), np.uint8)}, r"shape \(7, 3071\)"),
    "rows missing": ({**GOOD, "data": np.zeros((6, 3072), np.uint8)}, r"shape \(6, 3072\)"),
    "labels missing": ({**GOOD, "labels": [0] * 6}, "6 labels for 7 images"),
    "float pixels": ({**GOOD, "data": np.zeros((ROWS, 3072))}, "no uint8 array"),
    "no labels": ({"data": GOOD["data"]}, "no list of integers under 'labels'"),
    "label too large": ({**GOOD, "labels": [10] * ROWS}, "labels reach from 10 to 10"),
    "negative label": ({**GOOD, "labels": [-1] * ROWS}, "labels reach from -1 to -1"),
    "no dict": ([1, 2], "holds a list"),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_a_wrong_batch_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    batch, reason = BAD_BATCHES[case]
    write_pickle(tmp_path / "cifar-10-batches-py" / "test_batch", batch)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=reason):
        read(tmp_path, "cifar10")


@pytest.mark.parametrize("binary", [False, True])
def test_truncated_and_missing_files_are_refused(tmp_path: Path, binary: bool) -> None:
    path = write_set(tmp_path, "cifar10", binary) / f"test_batch{'.bin' if binary else ''}"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="truncated"):
        read(tmp_path, "cifar10")
    path.unlink()
    with pytest.raises(DataError, match="missing"):
        read(tmp_path, "cifar10")


def full_size_test_batch(root: Path, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (10_000, 3072), np.uint8)
    labels = rng.integers(0, 10, 10_000)
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True, exist_ok=True)
    table = np.hstack([labels[:, None].astype(np.uint8), data])
    (folder / "test_batch.bin").write_bytes(table.tobytes())
    return data, labels


def test_load_names_an_unknown_copy_and_fingerprints_it(tmp_path: Path) -> None:
    data, labels = full_size_test_batch(tmp_path)
    got = load("cifar10", "test", tmp_path)
    by_hand = hashlib.sha256(data.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    assert got.identity.fingerprint == by_hand
    assert (got.identity.copy_name, got.identity.approximate_images) == ("unknown copy", None)
    assert got.images.shape == (10_000, 3, 32, 32)


def test_official_md5_sums_make_a_copy_official(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_size_test_batch(tmp_path)
    file = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    md5 = {file.name: hashlib.md5(file.read_bytes()).hexdigest()}
    published = dataclasses.replace(data_set("cifar10"), md5=md5)
    monkeypatch.setattr(find_and_load, "data_set", {"cifar10": published}.__getitem__)
    got = load("cifar10", "test", tmp_path)
    assert (got.identity.copy_name, got.identity.approximate_images) == ("official", 0)


def test_a_copy_that_differs_only_in_unchecked_rows_is_named_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, labels = full_size_test_batch(tmp_path)
    checked = find_and_load.fingerprint(data[2:], labels[2:])
    rows = {"test": CheckableRows((0, 1), checked)}
    about = dataclasses.replace(data_set("cifar10"), checkable=rows)
    monkeypatch.setattr(find_and_load, "data_set", {"cifar10": about}.__getitem__)
    got = load("cifar10", "test", tmp_path)
    assert got.identity.approximate_images == 2
    assert "all but 2 images" in got.identity.copy_name
    rows["test"] = CheckableRows((0, 2), checked)
    assert load("cifar10", "test", tmp_path).identity.approximate_images is None
