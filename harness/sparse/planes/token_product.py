"""A sparse linear layer for many rows at once, as tokens and batches have them."""

from __future__ import annotations

from typing import Literal
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from harness.sparse.native.fields import FIELD_BYTES, FIELDS, Field, StepKind
from harness.sparse.native.kernels import Kernels
from harness.sparse.native.threads import run_together
from harness.sparse.operation_graph import Convolution, Linear
from harness.sparse.planes.layout import PlaneGrid, Planes
from harness.sparse.planes.steps import FLOAT, Machine, NativeStep, plane_operand, product_step

CAP = 8  # registers of rows per block
MOST_COUNTS = 4  # numbers of rows that are kept prepared

# Planes that the layers of a network write in turns, so that they stay in the cache.
Scratch = WeakValueDictionary[tuple[Literal["in", "out"], PlaneGrid, int], Planes]


class TokenProduct:
    """features (..., K) @ weight.T + bias by the native kernel.

    Rows are the pixels of a 1x1 convolution: features are transposed, multiplied, transposed back.
    """

    def __init__(
        self, linear: Linear, kernels: Kernels, threads: int, scratch: Scratch | None = None
    ) -> None:
        self.kernels, self.threads = kernels, threads
        self.scratch = Scratch() if scratch is None else scratch
        weight = linear.weight.view(*linear.weight.shape, 1, 1)
        self.layer = Convolution(linear.name, linear.label, linear.source, weight, linear.bias)
        self.gelu = linear.gelu
        self.prepared: dict[int, RowProgram] = {}

    def __call__(self, features: Tensor) -> Tensor:
        filters, channels = self.layer.weight.shape[:2]
        rows = features.reshape(-1, channels).contiguous()
        result = rows.new_empty(len(rows), filters)
        program = self._prepared(len(rows))
        run_together(self.kernels, program.between(rows, result), 0, 1, 1, self.threads)
        return result.view(*features.shape[:-1], filters)

    def _prepared(self, count: int) -> RowProgram:
        if count not in self.prepared:
            if len(self.prepared) == MOST_COUNTS:
                self.prepared.pop(next(iter(self.prepared)))
            self.prepared[count] = self._prepare(count)
        return self.prepared[count]

    def _prepare(self, count: int) -> RowProgram:
        filters, channels = self.layer.weight.shape[:2]
        grid = PlaneGrid(1, count)
        source = self.scratch.setdefault(("in", grid, channels), Planes(grid, channels, 1))
        out = self.scratch.setdefault(("out", grid, filters), Planes(grid, filters, 1))
        offsets = self.layer.weight.nonzero()[:, 1] * grid.plane
        operands = (plane_operand(source, False), plane_operand(out, False), None)
        machine = Machine(self.kernels.lanes, self.threads)
        step = product_step(self.layer, offsets, operands, grid, machine, CAP)
        return RowProgram(step, source, out, self.gelu)


class RowProgram:
    """Rows to planes, a product and perhaps its GELU, planes to rows.

    The rows' addresses change from call to call.
    """

    def __init__(self, product: NativeStep, source: Planes, out: Planes, gelu: bool) -> None:
        self.kept = product, source, out
        count, planes, made = source.grid.width, *(plane_operand(p, False) for p in (source, out))
        planes.holds(0, planes.plane * (source.channels - 1) + FLOAT * count)
        made.holds(0, made.plane * (out.channels - 1) + FLOAT * out.grid.positions)
        into = NativeStep.of(StepKind.TRANSPOSE, y=planes).set(
            height=count, width=source.channels,
            x_line=FLOAT * source.channels, y_line=planes.plane,
        )  # fmt: skip
        back = NativeStep.of(StepKind.TRANSPOSE, x=made).set(
            height=out.channels, width=count,
            x_line=made.plane, y_line=FLOAT * out.channels,
        )  # fmt: skip
        after = NativeStep.of(StepKind.GELU, x=made).set(
            channels=out.channels, x_plane=made.plane, positions=out.grid.positions
        )
        steps = [into, product, after, back] if gelu else [into, product, back]
        self.fields = torch.stack([step.fields for step in steps])
        self.numbers = self.fields.numpy()  # of the same memory, quicker to write

    def between(self, rows: Tensor, result: Tensor) -> tuple[int, int]:
        """First and last address of the steps that turn `rows` into `result`, both contiguous."""
        self.numbers[0, Field.X], self.numbers[-1, Field.Y] = rows.data_ptr(), result.data_ptr()
        first = self.fields.data_ptr()
        return first, first + FIELD_BYTES * FIELDS * len(self.fields)
