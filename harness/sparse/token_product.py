"""A sparse linear layer for many rows at once, as tokens and batches have them."""

from __future__ import annotations

from torch import Tensor

from harness.sparse.native_fields import FIELD_BYTES, FIELDS
from harness.sparse.native_kernels import Kernels
from harness.sparse.native_threads import run_together
from harness.sparse.operation_graph import Convolution, Linear
from harness.sparse.plane_layout import PlaneGrid, Planes
from harness.sparse.plane_steps import Machine, NativeStep, plane_operand, product_step

CAP = 8  # registers of rows per block
MOST_COUNTS = 4  # numbers of rows that are kept prepared


class TokenProduct:
    """features (..., K) @ weight.T + bias by the native kernel.

    Rows are the pixels of a 1x1 convolution: features are transposed, multiplied, transposed back.
    """

    def __init__(self, linear: Linear, kernels: Kernels, threads: int) -> None:
        self.kernels, self.threads = kernels, threads
        weight = linear.weight.view(*linear.weight.shape, 1, 1)
        self.layer = Convolution(linear.name, linear.label, linear.source, weight, linear.bias)
        self.prepared: dict[int, tuple[NativeStep, Planes, Planes]] = {}

    def __call__(self, features: Tensor) -> Tensor:
        filters, channels = self.layer.weight.shape[:2]
        rows = features.reshape(-1, channels)
        step, source, out = self._prepared(len(rows))
        source.view(channels, 1)[0, :, 0].copy_(rows.t())
        first = step.fields.data_ptr()
        program = (first, first + FIELD_BYTES * FIELDS)
        run_together(self.kernels, program, 0, 1, 1, self.threads)
        result = rows.new_empty(len(rows), filters).copy_(out.view(filters, 1)[0, :, 0].t())
        return result.view(*features.shape[:-1], filters)  # the planes are written again

    def _prepared(self, count: int) -> tuple[NativeStep, Planes, Planes]:
        if count not in self.prepared:
            if len(self.prepared) == MOST_COUNTS:
                self.prepared.pop(next(iter(self.prepared)))
            self.prepared[count] = self._prepare(count)
        return self.prepared[count]

    def _prepare(self, count: int) -> tuple[NativeStep, Planes, Planes]:
        filters, channels = self.layer.weight.shape[:2]
        grid = PlaneGrid(1, count)
        source, out = Planes(grid, channels, 1), Planes(grid, filters, 1)
        offsets = self.layer.weight.nonzero()[:, 1] * grid.plane
        operands = (plane_operand(source, False), plane_operand(out, False), None)
        machine = Machine(self.kernels.lanes, self.threads)
        return product_step(self.layer, offsets, operands, grid, machine, CAP), source, out
