"""How much room every size of feature map needs on planes, for all that read it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from harness.sparse.operation_graph import Convolution, MaxPool, OperationGraph, is_feature_map
from harness.sparse.planes.depthwise_step import is_depthwise
from harness.sparse.planes.layout import VECTOR, PlaneGrid, rounded
from harness.sparse.planes.taps import Taps, reads_in_place

Size = tuple[int, int]


def plane_grids(network: OperationGraph, images: int = 1) -> dict[Size, PlaneGrid]:
    """Height and width -> the grid of all values of that size, with room for every reader.

    images: beside each other.
    """
    gaps: dict[Size, int] = defaultdict(int)
    borders: dict[Size, Size] = defaultdict(lambda: (0, 0))  # lines, columns

    def reserve(size: Size, gap: int, border: Size = (0, 0)) -> None:
        gaps[size] = max(gaps[size], gap)
        borders[size] = max(borders[size][0], border[0]), max(borders[size][1], border[1])

    for operation in network.operations:
        if isinstance(operation, Convolution) and is_depthwise(operation):
            up, left = operation.padding
            reserve(size_of(network, operation.source), left, (up, left))
        elif isinstance(operation, Convolution):
            source, out = size_of(network, operation.source), size_of(network, operation.name)
            up, below, left, right = Taps.of(operation).reach
            if reads_in_place(operation, source, out):
                reserve(out, max(left, right), (max(up, below), max(left, right)))
            else:
                reserve(out, left + right)
        elif isinstance(operation, MaxPool) and pools_natively(network, operation):
            padding = operation.padding
            reserve(size_of(network, operation.source), padding, (padding, padding))
    grids = {}
    for shape in network.shapes.values():
        if is_feature_map(shape):
            size = (shape[2], shape[3])
            lines, columns = borders[size]
            grid = _aligned(PlaneGrid(*size, gaps[size], images=images))
            lead = max(VECTOR, rounded(lines * grid.pitch + columns))
            grids[size] = replace(grid, lead=lead)
    return grids


def _aligned(grid: PlaneGrid) -> PlaneGrid:
    """With lines that begin where a register does, if that takes no more room: reads of the lines
    above and below then touch one line of the cache instead of two."""
    apart = rounded(grid.pitch) // grid.images
    wider = replace(grid, gap=apart - grid.width)
    same = wider.pitch % VECTOR == 0 and wider.positions == grid.positions
    return wider if same else grid


def size_of(network: OperationGraph, value: str) -> Size:
    height, width = network.shapes[value][-2:]
    return height, width


def pools_natively(network: OperationGraph, pool: MaxPool) -> bool:
    """Whether zeros around the image may take part in the maximum, and the stride is known."""
    before = network.producer(pool.source)
    above = [pool.activation, getattr(before, "activation", None)]
    harmless = pool.padding == 0 or any(a is not None and a.low >= 0 for a in above)
    return pool.stride in (1, 2) and harmless and not pool.split
