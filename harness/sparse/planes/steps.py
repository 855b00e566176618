"""Steps of a network on planes, as rows of fields for the native kernels.

Every address that a step can touch from where an image lies is checked here, before a kernel sees
it; planes.memory makes as many places as there are threads and images.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from harness.sparse.native.fields import (
    ENTRY_BYTES,
    FIELDS,
    ROW_BYTES,
    Field,
    StepKind,
    interleaved,
    masked_by_bits,
)
from harness.sparse.operation_graph import Activation, Convolution, MaxPool
from harness.sparse.planes.layout import PlaneGrid, Planes
from harness.sparse.planes.nonzeros import NonZeros

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Operand:
    """Where a value of an image lies, in bytes: pixel (0, 0) of plane 0 at address + slot * number
    of the thread + image * number of the image + work * its number among those that the thread has
    in work; `before` and `after` that pixel there is memory to touch. plane, line: from one plane
    and one line of pixels to the next."""

    address: int
    plane: int
    line: int
    before: int
    after: int
    slot: int = 0
    image: int = 0
    work: int = 0

    def moved(self, shift: int) -> Operand:
        """The same memory, counted from `shift` bytes further on."""
        return replace(
            self,
            address=self.address + shift,
            before=self.before + shift,
            after=self.after - shift,
        )

    def holds(self, low: int, high: int) -> None:
        """Check that all bytes low <= b < high from pixel (0, 0) on are the value's."""
        if low < -self.before or high > self.after:
            msg = f"a step would touch bytes {low} to {high} of {-self.before} to {self.after}"
            raise AssertionError(msg)


class Room(Enum):
    """How much memory a value has."""

    THREAD = "one place for every thread"
    IMAGE = "one for every image"


def plane_operand(planes: Planes, room: Room = Room.THREAD) -> Operand:
    """Planes as an operand."""
    size, grid = FLOAT * planes.image, planes.grid
    before, after = planes.room
    found = Operand(planes.address, FLOAT * grid.plane, FLOAT * grid.pitch, before, after)
    return replace(found, image=size) if room is Room.IMAGE else replace(found, slot=size)


def one_beside(planes: Planes, room: Room = Room.THREAD) -> Operand:
    """Planes of several images beside each other, as steps that run for one image at a time write
    each one's part: images come in turn, the first of all at the first place."""
    whole, apart = plane_operand(planes, room), FLOAT * planes.grid.apart
    share = whole.image // planes.grid.images  # of the planes' distance, for each of their images
    return replace(whole, image=share, work=apart - share)


@dataclass
class NativeStep:
    """Fields of a step, and the tensors whose addresses are among them."""

    fields: Tensor
    tables: list[Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, kind: StepKind, **operands: Operand | None) -> NativeStep:
        """operands: x, y, residual."""
        step = cls(torch.zeros(FIELDS, dtype=torch.int64))
        step.fields[Field.KIND] = int(kind)
        for name, place in (("x", Field.X), ("y", Field.Y), ("residual", Field.RESIDUAL)):
            operand = operands.get(name)
            if operand is not None:
                values = operand.address, operand.slot, operand.image, operand.work
                step.fields[place : place + len(values)] = torch.tensor(values)
        return step

    def set(self, **values: int | float | Tensor) -> NativeStep:
        """Set fields by name; a tensor is kept, and its address is the field."""
        for name, value in values.items():
            if isinstance(value, Tensor):
                self.tables.append(value)
                value = value.data_ptr()
            bits = float_bits(value) if isinstance(value, float) else value
            self.fields[Field[name.upper()]] = bits
        return self

    def clamp(self, activation: Activation | None) -> NativeStep:
        limits = (-math.inf, math.inf) if activation is None else (activation.low, activation.high)
        return self.set(low=float(limits[0]), high=float(limits[1]))


def float_bits(value: float) -> int:
    """A float32 as the integer of the same bits."""
    return int(struct.unpack("<i", struct.pack("<f", value))[0])


def resample(
    source: Operand,
    goal: Operand,
    shifts: tuple[int, int],
    size: tuple[int, int, int],
    stride: int,
) -> NativeStep:
    """Copy (channels, lines, columns) pixels, of each line every stride-th.

    shifts: bytes from pixel (0, 0) to the first pixel read and written.
    """
    channels, lines, columns = size
    for operand, shift, apart in ((source, shifts[0], stride), (goal, shifts[1], 1)):
        last = operand.plane * (channels - 1) + operand.line * (lines - 1)
        operand.holds(shift, shift + last + FLOAT * (apart * (columns - 1) + 1))
    step = NativeStep.of(StepKind.RESAMPLE, x=source, y=goal)
    step.fields[Field.X] += shifts[0]
    step.fields[Field.Y] += shifts[1]
    return step.set(
        given=int(source.address == 0), channels=channels, x_plane=source.plane,
        y_plane=goal.plane, x_line=source.line, y_line=goal.line,
        height=lines, width=columns, stride=stride,
    )  # fmt: skip


def pool_step(pool: MaxPool, source: Operand, out: Operand, shape: tuple[int, ...]) -> NativeStep:
    """shape: of the output, (..., C, H, W)."""
    channels, height, width = shape[-3:]
    places = range(-pool.padding, pool.kernel - pool.padding)
    taps = torch.tensor([dy * source.line + dx * FLOAT for dy in places for dx in places])
    last = source.plane * (channels - 1) + source.line * pool.stride * (height - 1)
    last += FLOAT * pool.stride * (width - 1)
    source.holds(int(taps.min()), int(taps.max()) + last + FLOAT)
    out.holds(0, out.plane * (channels - 1) + out.line * (height - 1) + FLOAT * width)
    return NativeStep.of(StepKind.POOL, x=source, y=out).clamp(pool.activation).set(
        channels=channels, x_plane=source.plane, y_plane=out.plane,
        x_line=source.line * pool.stride, y_line=out.line, height=height, width=width,
        stride=pool.stride, taps=taps, tap_count=len(taps),
    )  # fmt: skip


def mean_step(source: Operand, out: Operand, grid: PlaneGrid, channels: int) -> NativeStep:
    """Mean over the pixels of one image; the zeros between those of a plane add nothing."""
    lines, columns = (1, grid.positions) if grid.images == 1 else (grid.height, grid.width)
    last = source.line * (lines - 1) + FLOAT * columns
    source.holds(0, source.plane * (channels - 1) + last)
    out.holds(0, out.plane * (channels - 1) + FLOAT)
    return NativeStep.of(StepKind.MEAN, x=source, y=out).set(
        channels=channels, x_plane=source.plane, y_plane=out.plane, x_line=source.line,
        height=lines, width=columns, scale=1.0 / (grid.height * grid.width),
    )  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """What a product is built for: floats per register and the threads that share an image."""

    lanes: int
    threads: int


class Product:
    """A convolution as a sparse product over blocks of at most `cap` registers of pixels.

    found: its weights. offsets: floats from the source's pixel (0, 0) to what each reads at output
    (0, 0), (n,). grid: of the pixels it runs over. planes: bytes from one plane to the next of the
    output and of the residual.
    """

    def __init__(
        self,
        conv: Convolution,
        found: NonZeros,
        offsets: Tensor,
        grid: PlaneGrid,
        planes: tuple[int, int],
        machine: Machine,
        cap: int,
    ) -> None:
        self.filters, self.activation, self.reach = len(conv.bias), conv.activation, (0, 0)
        self.bytes = FLOAT * grid.positions
        if len(offsets):
            low, high = (FLOAT * int(end) for end in offsets.aminmax())
            self.reach = low, high + self.bytes
        tiles = blocks(grid.positions // machine.lanes, cap, machine.lanes)
        fold = max(interleaved(vectors) for _, vectors in tiles)
        entries, rows = _entries(found, FLOAT * offsets, conv.bias, planes, fold)
        work = (rows[:, 2] - rows[:, 1]) // ENTRY_BYTES + 4  # writing a filter costs a few entries
        tile_bounds, row_bounds = _shares(len(tiles), work, machine.threads)
        places = torch.tensor([(FLOAT * first, vectors) for first, vectors in tiles])
        self.tables = {
            "entries": entries, "rows": rows, "tiles": places, "tile_bounds": tile_bounds,
            "row_bounds": row_bounds, "mask": _mask(grid.pixels(), machine.lanes),
        }  # fmt: skip

    def step(self, source: Operand, out: Operand, residual: Operand | None) -> NativeStep:
        """The product from and to these places."""
        source.holds(*self.reach)
        for operand in (out, residual):
            if operand is not None:
                operand.holds(0, operand.plane * (self.filters - 1) + self.bytes)
        step = NativeStep.of(StepKind.PRODUCT, x=source, y=out, residual=residual)
        return step.clamp(self.activation).set(**self.tables)


def product_step(
    conv: Convolution,
    found: NonZeros,
    offsets: Tensor,
    operands: tuple[Operand, Operand, Operand | None],
    grid: PlaneGrid,
    machine: Machine,
    cap: int,
) -> NativeStep:
    """A product that runs from and to one place only. operands: source, output, residual."""
    source, out, residual = operands
    planes = out.plane, residual.plane if residual else 0
    return Product(conv, found, offsets, grid, planes, machine, cap).step(source, out, residual)


def blocks(vectors: int, cap: int, lanes: int) -> list[tuple[int, int]]:
    """(first float, registers) of blocks of nearly equal size, none above `cap` registers.

    All sum in the same order (see `interleaved`), so that images beside each other are equal in
    every bit wherever they are.
    """
    for count in range(-(-vectors // cap), vectors + 1):
        sizes = [vectors // count + (n < vectors % count) for n in range(count)]
        if len({interleaved(size) for size in sizes}) == 1:
            break
    return [(lanes * sum(sizes[:n]), size) for n, size in enumerate(sizes)]


def _mask(pixels: Tensor, lanes: int) -> Tensor:
    """As the kernels read it, see masked_by_bits."""
    if not masked_by_bits(lanes):
        return -pixels.to(torch.int32)
    return torch.from_numpy(np.packbits(pixels.numpy(), bitorder="little"))


def _entries(
    found: NonZeros, offsets: Tensor, bias: Tensor, planes: tuple[int, int], fold: int
) -> tuple[Tensor, Tensor]:
    """(n, 2) int32 of offset and the bits of the weight, and per filter (4,) int64.

    Filters with equally many entries follow each other, so that the processor foresees where a
    sum ends, and every other one reads its input backwards, while the end is still in the cache.
    Counts are filled up to a multiple of `fold` by zero weights.
    """
    filters, owner = len(bias), found.filters
    assert not len(offsets) or -(2**31) <= int(offsets.min()) <= int(offsets.max()) < 2**31
    counts = torch.bincount(owner, minlength=filters)
    padded = (counts + fold - 1) // fold * fold
    order = padded.argsort(stable=True)
    begin = torch.zeros(filters, dtype=torch.int64)
    begin[order] = padded[order].cumsum(0) - padded[order]
    backwards = torch.zeros(filters, dtype=torch.bool)
    backwards[order[1::2]] = True
    within = torch.arange(len(owner)) - (counts.cumsum(0) - counts)[owner]
    within = torch.where(backwards[owner], counts[owner] - 1 - within, within)
    entries = torch.zeros(int(padded.sum()), 2, dtype=torch.int32)
    place = begin[owner] + within
    some = torch.zeros(filters, dtype=torch.int32)
    some[owner] = offsets.to(torch.int32)  # a zero weight reads what another one of its filter does
    entries[:, 0] = some[order].repeat_interleave(padded[order])
    entries[place, 0] = offsets.to(torch.int32)
    entries[place, 1] = found.values.view(torch.int32)
    assert max(planes) * filters < 2**31
    bits = bias.contiguous().view(torch.int32).to(torch.int64) & 0xFFFFFFFF
    out, beside = (plane * torch.arange(filters) for plane in planes)
    last = bits + (beside << 32)
    rows = torch.stack([out, ENTRY_BYTES * begin, ENTRY_BYTES * (begin + padded), last], 1)[order]
    assert rows.element_size() * rows.shape[1] == ROW_BYTES
    return entries, rows.contiguous()


def _shares(tiles: int, work: Tensor, threads: int) -> tuple[Tensor, Tensor]:
    """Bounds of the blocks and of the filters: (0, all) for a thread that has the image for
    itself, then (first, end) for each of the threads that share it.

    They share blocks where there are enough, else filters by their entries.
    """
    filters = len(work)
    if tiles >= 4 * threads or tiles % threads == 0:
        cuts = [tiles * part // threads for part in range(threads + 1)]
        tile_pairs = list(zip(cuts, cuts[1:], strict=False))
        row_pairs = [(0, filters)] * threads
    else:
        goals = work.sum() * torch.arange(1, threads) / threads
        inner = torch.searchsorted(work.cumsum(0).double(), goals.double()).tolist()
        cuts = [0, *inner, filters]
        row_pairs = list(zip(cuts, cuts[1:], strict=False))
        tile_pairs = [(0, tiles)] * threads
    return torch.tensor([(0, tiles), *tile_pairs]), torch.tensor([(0, filters), *row_pairs])
