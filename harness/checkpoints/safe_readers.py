"""Readers that turn an untrusted file into containers, claims and arrays, and execute nothing."""

from __future__ import annotations

import importlib.util
import io
import json
import math
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.checkpoints import pickles
from harness.checkpoints.archive import Archive
from harness.checkpoints.claimed_tensors import Bytes, Storage, sizes
from harness.checkpoints.wording import damaged
from harness.errors import CheckpointUnavailable, NotACheckpoint

# Optimizers and schedulers whose state AC/DC's files hold beside the weights.
ACDC_GLOBALS = frozenset(
    {"optimization.sgd.SGD", "optimization.lr_schedulers.CosineLR"}
    | {"torch.optim.lr_scheduler.ExponentialLR"}
)
H5_SECONDS = 15
LEGACY_PARTS = 3  # pickles before the content: magic number, version, facts about the machine

_NPY = re.compile(
    r"\{'descr': '(?P<descr>[<>|=](?:b1|[iu][1248]|f[248]))', "
    r"'fortran_order': (?P<order>True|False), "
    r"'shape': \((?P<shape>(?:\d{1,20}, )*(?:\d{1,20})?,?)\), \} *\n?"
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds: containers with claims in them, and where the numbers lie."""

    value: Any
    data: Bytes


def read_torch_zip(path: Path, also: frozenset[str] = frozenset()) -> Content:
    """What torch.save wrote since 1.6. also: globals that the format adds to the common ones.

    Raises UnsafePickle naming the first other global, NotACheckpoint if the file is damaged.
    """
    archive = Archive(path)
    [described, *others] = [name for name in archive.members if name.endswith("data.pkl")]
    if others:
        raise NotACheckpoint(f"file is a zip archive with {len(others) + 1} pickles.")
    root = described.removesuffix("data.pkl")
    if f"{root}byteorder" in archive.members and archive.read(f"{root}byteorder") != b"little":
        raise NotACheckpoint("file was written on a big-endian machine; save it again on another.")
    value, _ = pickles.read(io.BytesIO(archive.read(described)), also)
    return Content(value, lambda storage: _part(archive.read(f"{root}data/{storage.key}"), storage))


def read_torch_legacy(path: Path, also: frozenset[str] = frozenset()) -> Content:
    """What torch.save wrote before 1.6: pickles, then each storage after its length."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    for _ in range(LEGACY_PARTS):
        facts, _ = pickles.read(data, also)  # type: ignore[arg-type]  # mmap reads like a file
    if isinstance(facts, dict) and facts.get("little_endian") is False:
        raise NotACheckpoint("file was written on a big-endian machine; save it again on another.")
    value, storages = pickles.read(data, also)  # type: ignore[arg-type]
    keys, _ = pickles.read(data, also)  # type: ignore[arg-type]
    places = dict(_legacy_places(data, keys, storages))
    return Content(value, lambda storage: _part(places.get(storage.key, memoryview(b"")), storage))


def _legacy_places(
    data: mmap.mmap, keys: Any, storages: dict[str, Storage]
) -> Iterator[tuple[str, memoryview]]:
    at, view = data.tell(), memoryview(data)
    for key in keys if isinstance(keys, list) else ():
        storage = storages.get(str(key))
        if storage is None or storage.dtype is None:
            raise NotACheckpoint("file is damaged: it holds numbers that no tensor names.")
        size = int.from_bytes(view[at : at + 8], "little") * storage.dtype.itemsize
        if at + 8 + size > len(view):
            raise NotACheckpoint("file is damaged or cut off: it ends inside its numbers.")
        yield str(key), view[at + 8 : at + 8 + size]
        at += 8 + size


def _part(whole: memoryview, storage: Storage) -> memoryview:
    """The bytes of `storage` in those of the run that it is a view of."""
    if not storage.start or storage.dtype is None:
        return whole
    width = storage.dtype.itemsize
    return whole[storage.start * width : (storage.start + storage.count) * width]


def read_npz(path: Path, limit_bytes: int) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of an npz archive by name, at most `limit_bytes` of them; none that hold objects.

    Raises NotACheckpoint if the file is damaged or holds more.
    """
    archive = Archive(path)
    _require_room(sum(member.size for member in archive.members.values()), limit_bytes)
    return {
        pickles.text(name.removesuffix(".npy")): _read_npy(archive.read(name), name)
        for name in archive.members
    }


def _read_npy(data: memoryview, name: str) -> np.ndarray[Any, Any]:
    """One array, read by hand: NumPy evaluates the header, and allocates whatever it claims."""
    version, wide = bytes(data[6:8]), 2 if data[6:7] == b"\x01" else 4
    end = 8 + wide + int.from_bytes(data[8 : 8 + wide], "little")
    if data[:6] != b"\x93NUMPY" or version not in (b"\x01\0", b"\x02\0") or end > 10_000:
        raise NotACheckpoint(f"file is damaged: array {name} has no header.")
    text = bytes(data[8 + wide : end]).decode("latin-1")
    if re.match(r"\{'descr': '\|O'", text):
        msg = f"array {name} holds Python objects (a pickle); not opened"
        raise NotACheckpoint(f"file is no checkpoint: {msg}.")
    header = _NPY.fullmatch(text)
    if header is None:
        raise NotACheckpoint(f"file is damaged: array {name} has a header that says no shape.")
    try:
        shape = sizes([int(size) for size in re.findall(r"\d+", header["shape"])])
    except ValueError as error:
        raise NotACheckpoint(damaged(error)) from error
    dtype = np.dtype(header["descr"])
    body = data[end:]
    if len(body) != dtype.itemsize * math.prod(shape):
        values = len(body) // dtype.itemsize
        msg = f"file is damaged: array {name} has {values} values for shape {shape}."
        raise NotACheckpoint(msg)
    flat = np.frombuffer(body, dtype).astype(dtype.newbyteorder("="))
    if header["order"] == "True":
        return np.ascontiguousarray(flat.reshape(shape[::-1]).T)
    return flat.reshape(shape)


def read_bytes(path: Path, limit_bytes: int) -> bytes:
    """The file as it is. Raises NotACheckpoint if it is larger than `limit_bytes`."""
    _require_room(path.stat().st_size, limit_bytes)
    return path.read_bytes()


def _require_room(size: int, limit_bytes: int) -> None:
    if size > limit_bytes:
        msg = f"file claims {size:,} bytes of numbers, at most {limit_bytes:,} are accepted here"
        raise NotACheckpoint(f"{msg}; none of them was read.")


def read_h5(path: Path, limit_bytes: int) -> dict[str, Any]:
    """{"config": Keras' model_config, "weights": layer -> weight name -> array} of an HDF5 model.

    The HDF5 library reads in a process of its own: bytes that it never comes to an end with, or
    that end it, cost `H5_SECONDS` at most and nothing here.
    Raises CheckpointUnavailable if h5py is not installed, NotACheckpoint if the file is damaged,
    is no Keras model, refers to data outside itself, or claims more than `limit_bytes` of numbers.
    """
    if importlib.util.find_spec("h5py") is None:
        raise CheckpointUnavailable("reading HDF5 needs h5py: pip install 'reprune[keras]'.")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness.checkpoints.h5_worker", str(path), str(limit_bytes)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            capture_output=True,
            timeout=H5_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"file is damaged: HDF5 comes to no end with it in {H5_SECONDS} s."
        raise NotACheckpoint(msg) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        refused = said.splitlines()[-1] if done.returncode == 1 and said else ""
        msg = f"file is damaged: HDF5 ended with code {done.returncode} over it."
        raise NotACheckpoint(refused or msg)
    weights: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as stored:
        layers, config = json.loads(str(stored["names"])), json.loads(str(stored["config"]))
        for place, (layer, name) in enumerate(layers):
            weights.setdefault(layer, {})[name] = stored[str(place)]
    return {"config": config, "weights": weights}
