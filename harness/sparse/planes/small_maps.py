"""Several images beside each other on the planes of small maps.

A line of few pixels fills registers badly (7x7 maps take 64 floats, 77 % of them pixels), and every
weight is fetched from memory for few pixels. The last operations of a network, from where all maps
are small and made by native steps, therefore run on planes whose lines hold the pixels of several
images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from harness.sparse.operation_graph import (
    Convolution,
    Operation,
    OperationGraph,
    is_feature_map,
)
from harness.sparse.planes.grids import plane_grids, size_of

SMALL = 64  # pixels of a map
MOST = 16  # images beside each other
ENOUGH = 1.02  # more images beside each other have to save this much


@dataclass(frozen=True)
class Tail:
    """The operations that run on planes of several images.

    made: the values they make. images: beside each other.
    """

    made: frozenset[str] = frozenset()
    images: int = 1


def tail_of(
    network: OperationGraph, native: Callable[[Operation], bool], after: int, images: int
) -> Tail:
    """after: the number of operations that are none of it in any case. images: of each thread."""
    tail = network.operations[_first(network, native, after) :]
    if not any(isinstance(operation, Convolution) and native(operation) for operation in tail):
        return Tail()
    nnz = {op.name: op.nnz for op in tail if isinstance(op, Convolution)}
    candidates = [n for n in range(1, min(images, MOST) + 1) if images % n == 0]
    costs = {n: _cost(network, nnz, n) for n in candidates}
    enough = ENOUGH * min(costs.values())
    found = next(number for number, cost in costs.items() if cost <= enough)
    return Tail(frozenset(op.name for op in tail), found) if found > 1 else Tail()


def _first(network: OperationGraph, native: Callable[[Operation], bool], after: int) -> int:
    """The place of the first operation from which on all maps are small and made by native steps:
    PyTorch's own operations would take the images apart and lay them beside each other again."""
    first = len(network.operations)
    for place in range(len(network.operations) - 1, after - 1, -1):
        operation = network.operations[place]
        shape = network.shapes.get(operation.name, ())
        pixels = math.prod(shape[2:]) if is_feature_map(shape) else 1
        if network.input in operation.inputs or pixels > (SMALL if native(operation) else 1):
            break
        first = place if native(operation) else first
    return first


def _cost(network: OperationGraph, nnz: dict[str, int], images: int) -> float:
    """Multiply-accumulates for an image, those between the pixels included. nnz: per layer."""
    grids = plane_grids(network, images)
    return sum(
        count * grids[size_of(network, name)].positions / images for name, count in nnz.items()
    )
