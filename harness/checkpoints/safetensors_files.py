"""Safetensors files read by hand, one alone or several under an index; claims first."""

from __future__ import annotations

import json
import math
import mmap
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.checkpoints import pickles
from harness.checkpoints.claimed_tensors import (
    Claim,
    DenseClaim,
    Storage,
    Unreadable,
    dense_claim,
    naturals,
    sizes,
)
from harness.checkpoints.safe_readers import Content
from harness.checkpoints.wording import damaged
from harness.errors import NotACheckpoint

MAX_HEADER_BYTES = 16 * 1024**2  # 100,000 tensors; nonsense takes 40 times as much memory
MAX_SHARDS = 1000

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
}


def read_safetensors(path: Path, also: frozenset[str] = frozenset()) -> Content:
    """The claims of a safetensors file by name. Raises NotACheckpoint if it is damaged."""
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    length = int.from_bytes(data[:8], "little")
    if MAX_HEADER_BYTES < length <= len(data) - 8:
        raise NotACheckpoint(f"file is no checkpoint: its header alone has {length:,} bytes.")
    if length > len(data) - 8:
        raise NotACheckpoint("file is damaged or cut off: it ends inside its header.")
    body = memoryview(data)[8 + length :]
    try:
        header = json.loads(data[8 : 8 + length], object_pairs_hook=_once)
        header.pop("__metadata__", None)
        entries = {pickles.text(name): _stored(about) for name, about in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotACheckpoint(damaged(error)) from error
    spans = sorted((int(span.key), span.count) for _, span in entries.values())
    free = 0
    for begin, count in spans:  # every byte belongs to one tensor
        if begin != free:
            raise NotACheckpoint("file is damaged: its tensors overlap or leave holes.")
        free += count
    if free != len(body):
        raise NotACheckpoint(f"file is damaged or cut off: {len(body)} bytes of {free} are there.")
    value = {name: claim for name, (claim, _) in entries.items()}
    return Content(value, lambda span: body[int(span.key) : int(span.key) + span.count])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice in the header")
    return dict(pairs)


def _stored(about: Any) -> tuple[Claim, Storage]:
    """(claim, where its bytes lie) of one tensor of a safetensors header."""
    shape = sizes(about["shape"])
    begin, end = naturals(about["data_offsets"])
    if end < begin:
        raise ValueError("a tensor ends before it begins")
    span = Storage(str(begin), None, end - begin)
    dtype = _DTYPES.get(about["dtype"])
    if dtype is None:
        return Unreadable(f"of dtype {str(about['dtype'])[:20]}"), span
    strides, size = [], 1
    for length in reversed(shape):
        strides.append(size)
        size *= max(length, 1)
    if math.prod(shape) * dtype.itemsize != span.count:
        raise ValueError(f"a tensor of shape {shape} has {span.count} bytes")
    return dense_claim(span, dtype, 0, shape, strides[::-1]), span


def read_sharded(path: Path, also: frozenset[str] = frozenset()) -> Content:
    """The claims of all files that an index names; they lie beside it.

    Raises NotACheckpoint if one is missing, damaged, elsewhere, or holds other tensors than told.
    """
    shards: dict[str, Content] = {}
    value: dict[str, Claim] = {}
    for name in shard_names(path):
        file = path.with_name(name)
        if not file.is_file():
            raise NotACheckpoint(f"{name!r} is missing beside the index that names it.")
        shards[name] = read_safetensors(file)
        for tensor, claim in shards[name].value.items():
            if isinstance(claim, DenseClaim):
                place = replace(claim.storage, key=f"{claim.storage.key} {name}")
                claim = replace(claim, storage=place)
            value[tensor] = claim
    if value.keys() != {pickles.text(tensor) for tensor in _weight_map(path)}:
        raise NotACheckpoint("the index and its files name other tensors.")

    def data(span: Storage) -> memoryview:
        begin, _, name = span.key.partition(" ")
        return shards[name].data(replace(span, key=begin))

    return Content(value, data)


def shard_names(path: Path) -> list[str]:
    """The files that an index names, sorted: names alone, which cannot lead elsewhere."""
    names = sorted({str(name) for name in _weight_map(path).values()})
    odd = [name for name in names if Path(name).name != name or "\\" in name or name in ("", "..")]
    if odd or len(names) > MAX_SHARDS:
        what = (
            f"names {odd[0]!r}, which is no file beside it" if odd else f"names {len(names)} files"
        )
        raise NotACheckpoint(f"the index {what}.")
    return names


def _weight_map(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_HEADER_BYTES:
        raise NotACheckpoint("file is an index of more than 16 MB.")
    try:
        found = json.loads(path.read_bytes(), object_pairs_hook=_once)["weight_map"]
        return dict(found)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotACheckpoint(damaged(error)) from error
