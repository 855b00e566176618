"""The first layers of an image in bands of rows, so that what one writes the next finds in cache.

A network's first maps are larger than a core's cache. Here every layer makes a few rows at a time:
as many as the rows that its inputs have by now allow. A map that only these layers read is never
whole: its planes hold the rows of one band, and before them those of earlier bands that are still
to be read, which move up from band to band.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from harness.sparse.operation_graph import (
    Convolution,
    MaxPool,
    Operation,
    OperationGraph,
    is_feature_map,
)
from harness.sparse.planes.depthwise_step import depthwise_step, is_depthwise
from harness.sparse.planes.layout import VECTOR, PlaneGrid, Planes, rounded
from harness.sparse.planes.nonzeros import NonZeros
from harness.sparse.planes.slices import BlockForm, SlicedProduct
from harness.sparse.planes.steps import (
    FLOAT,
    Machine,
    NativeStep,
    Operand,
    plane_operand,
    pool_step,
    resample,
)
from harness.sparse.planes.taps import Phases, Taps, in_place_offsets, reads_in_place

Size = tuple[int, int]
CACHE = 2 << 20  # bytes of one map: a larger one is not in a core's own cache when it is read
BAND = 400 << 10  # bytes of the largest map in one band, so that a few of them are


def bands_of(network: OperationGraph) -> int:
    """The bands that suit the largest map; 1 where all maps fit the cache."""
    shapes = [shape for shape in network.shapes.values() if is_feature_map(shape)]
    sizes = [FLOAT * math.prod(shape[1:]) for shape in shapes]
    largest = max(sizes, default=0)
    return -(-largest // BAND) if largest > CACHE else 1


def _is_large(network: OperationGraph, value: str) -> bool:
    return FLOAT * math.prod(network.shapes[value][1:]) > CACHE


def around_large_maps(
    network: OperationGraph, native: Callable[[Operation], bool]
) -> list[Convolution | MaxPool]:
    """The first operations, to the last that reads or writes a large map, all native."""
    found: list[Convolution | MaxPool] = []
    large = 0
    for operation in network.operations:
        if not (isinstance(operation, Convolution | MaxPool) and native(operation)):
            break
        found.append(operation)
        if any(_is_large(network, value) for value in (operation.name, *operation.inputs)):
            large = len(found)
    return found[:large]


@dataclass(frozen=True)
class RowReach:
    """Output row r reads the rows r * stride - above to r * stride + below of one input."""

    stride: int = 1
    above: int = 0
    below: int = 0

    def allows(self, ready: int, rows: int, goal: int) -> int:
        """How many of `goal` output rows can be made of the first `ready` of `rows` rows."""
        if ready == rows:
            return goal
        return max(0, min(goal, (ready - 1 - self.below) // self.stride + 1))

    def first(self, row: int) -> int:
        return row * self.stride - self.above


def reads_planes(network: OperationGraph, conv: Convolution) -> bool:
    """Whether a convolution reads its input's own planes, not copies by stride."""
    shapes = network.shapes
    return is_depthwise(conv) or reads_in_place(conv, shapes[conv.source], shapes[conv.name])


def reaches(operation: Convolution | MaxPool, in_place: bool) -> list[tuple[str, RowReach]]:
    """Every input of an operation, and how its rows are read."""
    if isinstance(operation, MaxPool):
        below = operation.kernel - 1 - operation.padding
        return [(operation.source, RowReach(operation.stride, operation.padding, below))]
    stride, padding = operation.stride[0], operation.padding[0]
    below = (operation.weight.shape[2] - 1) * operation.dilation[0] - padding
    above = padding if in_place else stride * Taps.of(operation).reach[0]
    found = [(operation.source, RowReach(stride, above, below))]
    return found + ([(operation.residual, RowReach())] if operation.residual else [])


class RowSchedule:
    """How many rows of every value are made after each of `count` bands.

    made: value -> count + 1 numbers, 0 first; of a value from elsewhere, equal shares.
    """

    def __init__(
        self, network: OperationGraph, operations: Sequence[Convolution | MaxPool], count: int
    ) -> None:
        self.made: dict[str, list[int]] = {}
        self.heights = {v: shape[2] for v, shape in network.shapes.items() if len(shape) == 4}
        self.readers: dict[str, list[tuple[str, RowReach]]] = {}
        for operation in operations:
            in_place = isinstance(operation, Convolution) and reads_planes(network, operation)
            goal, inputs = self.heights[operation.name], reaches(operation, in_place)
            for value, reach in inputs:
                self.readers.setdefault(value, []).append((operation.name, reach))
                rows = self.heights[value]
                shares = [-(-rows * band // count) for band in range(count + 1)]
                self.made.setdefault(value, shares)
            self.made[operation.name] = [0] + [
                min(r.allows(self.made[v][band], self.heights[v], goal) for v, r in inputs)
                for band in range(1, count + 1)
            ]

    def kept(self, value: str, band: int) -> int:
        """Rows made before a band that are still to be read; above the image too."""
        made = self.made[value][band - 1]
        lows = [r.first(self.made[user][band - 1]) for user, r in self.readers.get(value, [])]
        return max(0, made - min(lows, default=made))

    def below(self, value: str) -> int:
        """Rows of zeros that are read below the image."""
        ends = [
            (self.heights[user] - 1) * reach.stride + reach.below + 1
            for user, reach in self.readers.get(value, [])
        ]
        return max(0, max(ends, default=0) - self.heights[value])

    def new(self, value: str, band: int) -> int:
        return self.made[value][band] - self.made[value][band - 1]


class BandedStretch:
    """Native steps for the first operations of a stretch, in bands.

    grids: size -> that of whole maps. whole: where the maps lie that others write or read, by name.
    forms: convolution -> how its product is cut.
    """

    def __init__(
        self,
        network: OperationGraph,
        operations: Sequence[Convolution | MaxPool],
        count: int,
        grids: dict[Size, PlaneGrid],
        whole: dict[str, Operand],
        forms: dict[str, BlockForm],
        machine: Machine,
    ) -> None:
        self.network, self.operations, self.count = network, operations, count
        self.whole, self.forms, self.machine = whole, forms, machine
        self.schedule = RowSchedule(network, operations, count)
        self.rolling: dict[str, Planes] = {}
        self.kept: dict[str, Planes] = {}
        self.phases: dict[str, tuple[Phases, Planes]] = {}
        self.products: dict[tuple[str, int], SlicedProduct] = {}
        self.zeros = torch.zeros(1)
        self.grids = self._grids(grids)
        self._place_all()

    def _shape(self, value: str) -> tuple[int, ...]:
        return self.network.shapes[value][1:]

    def _size(self, value: str) -> Size:
        height, width = self._shape(value)[-2:]
        return height, width

    def _grids(self, whole: dict[Size, PlaneGrid]) -> dict[Size, PlaneGrid]:
        """Size -> planes of one band's rows, with what is kept of earlier ones before them."""
        made, bands = {}, range(1, self.count + 1)
        values = [operation.name for operation in self.operations]
        for size in {self._size(value) for value in values}:
            alike = [value for value in values if self._size(value) == size]
            rows = max(self.schedule.new(value, band) for value in alike for band in bands)
            kept = max(self.schedule.kept(value, band) for value in alike for band in bands)
            below = max(self.schedule.below(value) for value in alike)
            grid = whole[size]
            lead = rounded(kept * grid.pitch + grid.gap) + VECTOR
            made[size] = PlaneGrid(rows + below, grid.width, grid.gap, lead)
        return made

    def _place_all(self) -> None:
        """Memory for the rows of one band, handed on within it, and for what is kept."""
        last = {value: op for op in self.operations for value in op.inputs}
        free: dict[PlaneGrid, list[Planes]] = defaultdict(list)
        for operation in self.operations:
            value = operation.name
            if value not in self.whole:
                grid, channels = self.grids[self._size(value)], self._shape(value)[0]
                fitting = [planes for planes in free[grid] if planes.channels >= channels]
                if fitting:
                    self.rolling[value] = min(fitting, key=lambda planes: planes.channels)
                    free[grid].remove(self.rolling[value])
                else:
                    self.rolling[value] = Planes(grid, channels, self.machine.threads)
                most = max(self.schedule.kept(value, band) for band in range(1, self.count + 1))
                row = PlaneGrid(1, most * grid.pitch)
                self.kept[value] = Planes(row, channels, self.machine.threads)
            for read in dict.fromkeys(operation.inputs):
                if last[read] is operation and read in self.rolling:
                    free[self.rolling[read].grid].append(self.rolling[read])

    def steps(self) -> list[NativeStep]:
        """All steps in order."""
        made: list[NativeStep] = []
        for band in range(1, self.count + 1):
            for operation in self.operations:
                value = operation.name
                if value in self.rolling:
                    made += self._roll(value, band)
                rows = self.schedule.made[value][band - 1], self.schedule.made[value][band]
                if rows[0] < rows[1]:
                    made += self._made(operation, band, rows)
                if value in self.rolling and band < self.count:
                    made += self._keep(value, band)
        return made

    def _made(
        self, operation: Convolution | MaxPool, band: int, rows: tuple[int, int]
    ) -> list[NativeStep]:
        if isinstance(operation, MaxPool):
            return [self._pool(operation, band, rows)]
        if is_depthwise(operation):
            return [self._depthwise(operation, band, rows)]
        return self._convolution(operation, band, rows)

    def _at(self, value: str, band: int, row: int) -> Operand:
        """A value in a band, from one of its rows on."""
        if value in self.rolling:
            operand = plane_operand(self.rolling[value])
            row -= self.schedule.made[value][band - 1]
        else:
            operand = self.whole[value]
        return operand.moved(row * operand.line)

    def _roll(self, value: str, band: int) -> list[NativeStep]:
        """Bring back what was kept; zeros above the image at first, below it at last."""
        schedule, operand = self.schedule, plane_operand(self.rolling[value])
        channels, pitch = self._shape(value)[0], self.rolling[value].grid.pitch
        kept = schedule.kept(value, band)
        made: list[NativeStep] = []
        if kept and band == 1:
            made.append(self._clear(operand, channels, -kept, kept, pitch))
        elif kept:
            store = plane_operand(self.kept[value])
            shifts, lines = (0, -kept * operand.line), (channels, 1, kept * pitch)
            made.append(resample(store, operand, shifts, lines, 1))
        if band == self.count and schedule.below(value):
            first = schedule.new(value, band)
            made.append(self._clear(operand, channels, first, schedule.below(value), pitch))
        return made

    def _keep(self, value: str, band: int) -> list[NativeStep]:
        """Copy aside what the next band still reads."""
        operand, store = (plane_operand(p[value]) for p in (self.rolling, self.kept))
        channels, pitch = self._shape(value)[0], self.rolling[value].grid.pitch
        kept = self.schedule.kept(value, band + 1)
        read = (self.schedule.new(value, band) - kept) * operand.line
        return [resample(operand, store, (read, 0), (channels, 1, kept * pitch), 1)] if kept else []

    def _clear(
        self, goal: Operand, channels: int, first: int, lines: int, pitch: int
    ) -> NativeStep:
        """Zeros from line `first` on."""
        count = lines * pitch
        if len(self.zeros) < count:
            self.zeros = torch.zeros(count)
        zeros = Operand(self.zeros.data_ptr(), 0, 0, 0, FLOAT * count)
        step = resample(zeros, goal, (0, first * goal.line), (channels, 1, count), 1)
        step.tables.append(self.zeros)
        return step

    def _pool(self, pool: MaxPool, band: int, rows: tuple[int, int]) -> NativeStep:
        channels, _, width = self._shape(pool.name)
        source = self._at(pool.source, band, rows[0] * pool.stride)
        shape = (channels, rows[1] - rows[0], width)
        return pool_step(pool, source, self._at(pool.name, band, rows[0]), shape)

    def _depthwise(self, conv: Convolution, band: int, rows: tuple[int, int]) -> NativeStep:
        channels, _, width = self._shape(conv.name)
        source = self._at(conv.source, band, rows[0] * conv.stride[0])
        shape = (channels, rows[1] - rows[0], width)
        return depthwise_step(conv, source, self._at(conv.name, band, rows[0]), shape)

    def _convolution(self, conv: Convolution, band: int, rows: tuple[int, int]) -> list[NativeStep]:
        out = self._at(conv.name, band, rows[0])
        residual = self._at(conv.residual, band, rows[0]) if conv.residual else None
        steps: list[NativeStep] = []
        if reads_planes(self.network, conv):
            source = self._at(conv.source, band, rows[0])
        else:
            phases, planes = self._phases(conv)
            source = plane_operand(planes)
            steps = self._copies(conv, phases, source, band, rows)
        beside = residual.plane if residual else 0
        product = self._product(conv, rows[1] - rows[0], (source.plane, out.plane, beside))
        return [*steps, *product.steps(source, out, residual)]

    def _product(self, conv: Convolution, rows: int, planes: tuple[int, int, int]) -> SlicedProduct:
        if (conv.name, rows) not in self.products:
            band = self.grids[self._size(conv.name)]
            found = NonZeros.of(conv)
            if conv.name in self.phases:
                offsets = self.phases[conv.name][0].offsets(conv, found)
            else:
                offsets = in_place_offsets(conv, found, planes[0] // FLOAT, band.pitch)
            grid = PlaneGrid(rows, band.width, band.gap)
            self.products[conv.name, rows] = SlicedProduct(
                conv, found, offsets, grid, planes[1:], self.machine, self.forms[conv.name]
            )
        return self.products[conv.name, rows]

    def _phases(self, conv: Convolution) -> tuple[Phases, Planes]:
        if conv.name not in self.phases:
            band = self.grids[self._size(conv.name)]
            grid = PlaneGrid(band.height, band.width, band.gap)
            phases = Phases(conv, self._shape(conv.source)[0], grid)
            planes = Planes(phases.grid, phases.planes, self.machine.threads)
            self.phases[conv.name] = phases, planes
        return self.phases[conv.name]

    def _copies(
        self, conv: Convolution, phases: Phases, goal: Operand, band: int, rows: tuple[int, int]
    ) -> list[NativeStep]:
        """Of the lines that some output rows read, with zeros beyond the image."""
        size, pitch = self._size(conv.source), phases.grid.pitch
        steps = []
        above, lines = phases.up - rows[0], rows[1] - rows[0] + phases.up + phases.below
        if above > 0:
            steps.append(self._clear(goal, phases.planes, 0, above, pitch))
        if rows[1] == self._size(conv.name)[0]:
            steps.append(self._clear(goal, phases.planes, 0, lines, pitch))
        if conv.source in self.rolling:
            source = plane_operand(self.rolling[conv.source])
            first = self.schedule.made[conv.source][band - 1]
        else:
            source, first = self.whole[conv.source], 0
        ready = first, self.schedule.made[conv.source][band]
        return [*steps, *phases.steps(source, size, goal, rows, ready)]
