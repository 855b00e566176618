"""What a file claims its tensors to be, and the tensors themselves once the claims hold.

A claim costs a few hundred bytes, whatever it says. Nothing is allocated for one before its shape
was held against the bytes that are really there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.errors import NotACheckpoint

MAX_DIMENSIONS = 8
READABLE = frozenset(
    {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool}
    | {torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8}
)
COO, COMPRESSED = "torch.sparse_coo", ("torch.sparse_csr", "torch.sparse_bsr")
TRANSPOSED = ("torch.sparse_csc", "torch.sparse_bsc")  # compressed by columns


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of equal numbers in the file. count: how many; start: of a view into a longer run."""

    key: str
    dtype: torch.dtype | None  # None: bytes, which each tensor on them takes as its own dtype
    count: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class DenseClaim:
    """A tensor laid over a storage. offset and stride in elements."""

    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class SparseClaim:
    """A tensor of which only the non-zero entries are stored. parts: indices, then values."""

    layout: str
    shape: tuple[int, ...]
    parts: tuple[DenseClaim, ...]

    @property
    def dtype(self) -> torch.dtype:
        return self.parts[-1].dtype


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A tensor of a kind that no network here is made of. kind: as a message calls it."""

    kind: str


Readable = DenseClaim | SparseClaim
Claim = Readable | Unreadable
Bytes = Callable[[Storage], memoryview]  # where the numbers of a storage are


def dense_claim(
    storage: Storage, dtype: torch.dtype, offset: object, shape: object, stride: object
) -> Claim:
    """The claim of an ordinary tensor; Unreadable where it repeats numbers or has none.

    Raises ValueError for a claim that contradicts itself or reaches outside its storage.
    """
    if dtype not in READABLE:
        return Unreadable(kind_of(dtype))
    lengths, steps, [first] = sizes(shape), naturals(stride), naturals((offset,))
    if len(lengths) != len(steps):
        raise ValueError(f"a tensor has {len(lengths)} dimensions and {len(steps)} strides")
    if any(step == 0 and size > 1 for size, step in zip(lengths, steps, strict=True)):
        return Unreadable("repeated (stride 0)")
    count = storage.count if storage.dtype is not None else storage.count // dtype.itemsize
    size = math.prod(lengths)
    last = first + sum((n - 1) * step for n, step in zip(lengths, steps, strict=True))
    if size and (last >= count or size > count):
        raise ValueError(f"a tensor of shape {lengths} lies on {count} numbers")
    return DenseClaim(storage, dtype, lengths, steps, first)


def naturals(values: object) -> tuple[int, ...]:
    """`values` as a tuple of integers >= 0. Raises ValueError if they are anything else."""
    if not isinstance(values, list | tuple) or len(values) > MAX_DIMENSIONS:
        raise ValueError("a shape is no list of a few numbers")
    if any(type(value) is not int or not 0 <= value < 2**48 for value in values):
        raise ValueError("a shape has something else than sizes in it")
    return tuple(values)


def sizes(shape: object) -> tuple[int, ...]:
    """`shape` as a tuple of sizes whose product no library overflows at, a 0 among them or not.

    Raises ValueError for any other.
    """
    found = naturals(shape)
    if math.prod(size or 1 for size in found) >= 2**60:
        raise ValueError("a shape has more numbers than there can be")
    return found


def kind_of(dtype: torch.dtype) -> str:
    """What a message calls tensors of a dtype that is not read."""
    name = str(dtype).removeprefix("torch.")
    if dtype.is_complex:
        return f"complex ({name})"
    packed = dtype.itemsize == 1 or name.startswith("q")
    return f"quantised or packed ({name})" if packed else name


def numel(claim: Readable) -> int:
    """Numbers in the tensor, zeros included."""
    return math.prod(claim.shape)


def tensor_of(claim: Readable, data: Bytes) -> Tensor:
    """The tensor, a sparse one with all of its zeros; it may lie on the bytes of the file.

    Raises NotACheckpoint if the bytes are not those that were claimed.
    """
    if isinstance(claim, DenseClaim):
        return _laid(claim, data)
    parts = [_laid(part, data) for part in claim.parts]
    try:
        if claim.layout == COO:
            return _from_coordinates(parts[0], parts[1], claim.shape)
        return _from_compressed(claim.layout, parts, claim.shape)
    except (IndexError, ValueError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        raise NotACheckpoint(
            f"file is damaged: a sparse tensor contradicts itself ({first})."
        ) from error


def _laid(claim: DenseClaim, data: Bytes) -> Tensor:
    raw = data(claim.storage)
    width = claim.dtype.itemsize
    wanted = claim.storage.count * (1 if claim.storage.dtype is None else width)
    if len(raw) != wanted:
        msg = f"file is damaged: {len(raw)} bytes lie where {wanted} are claimed."
        raise NotACheckpoint(msg)
    if not raw:
        return torch.empty(claim.shape, dtype=claim.dtype)
    flat = torch.frombuffer(raw, dtype=torch.uint8)
    if flat.data_ptr() % width:  # a number may not begin anywhere
        flat = flat.clone()
    whole = flat[: len(flat) // width * width].view(claim.dtype)
    return whole.as_strided(claim.shape, claim.stride, claim.offset)


def _from_coordinates(indices: Tensor, values: Tensor, shape: Sequence[int]) -> Tensor:
    """indices (d, n) int64, values (n, ...) -> a tensor of `shape`; equal places add up."""
    ends = torch.tensor(shape[: len(indices)]).unsqueeze(1)
    if indices.ndim != 2 or bool(((indices < 0) | (indices >= ends)).any()):
        raise ValueError("an index lies outside its shape")
    if not len(indices):  # a single number
        return values.sum(0, dtype=values.dtype)
    whole = torch.zeros(tuple(shape), dtype=values.dtype)
    return whole.index_put_(tuple(indices), values, accumulate=True)


def _from_compressed(layout: str, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """parts: where each row (or column) begins (n+1), places (m), values (m) or (m, h, w)."""
    begins, places, values = parts
    blocks = values if values.ndim == 3 else values.reshape(-1, 1, 1)
    high, wide = blocks.shape[1:]
    counts = begins.diff()
    if int(begins[0]) or int(begins[-1]) != len(places) or bool((counts < 0).any()):
        raise ValueError("its rows do not follow each other")
    lines = torch.repeat_interleave(torch.arange(len(counts)), counts)
    rows, columns = (places, lines) if layout in TRANSPOSED else (lines, places)
    grid = (shape[0] // high, shape[1] // wide, high, wide)
    whole = _from_coordinates(torch.stack([rows, columns]), blocks, grid)
    return whole.transpose(1, 2).reshape(tuple(shape))
