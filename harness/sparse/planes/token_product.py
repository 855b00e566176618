"""Sparse linear layers for many rows at once, as tokens and batches have them."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from harness.sparse.native.fields import FIELD_BYTES, FIELDS, Field, StepKind
from harness.sparse.native.kernels import Kernels
from harness.sparse.native.threads import run_together
from harness.sparse.operation_graph import Convolution, Linear
from harness.sparse.planes.layout import PlaneGrid, Planes
from harness.sparse.planes.nonzeros import NonZeros
from harness.sparse.planes.steps import FLOAT, Machine, NativeStep, plane_operand, product_step

CAP = 8  # registers of rows per block
MOST_COUNTS = 4  # numbers of rows that are kept prepared

# Planes that the layers of a network write in turns, so that they stay in the cache: place in the
# chain of layers, size, channels.
Scratch = WeakValueDictionary[tuple[int, PlaneGrid, int], Planes]


class TokenProduct:
    """Linear layers after each other on features (..., K), by the native kernels.

    Rows are the pixels of 1x1 convolutions: features are transposed, multiplied, transposed back,
    and a residual is added on the way back. Of several layers only the
    last one may have one.
    """

    def __init__(
        self,
        layers: Sequence[Linear],
        kernels: Kernels,
        threads: int,
        scratch: Scratch | None = None,
    ) -> None:
        self.layers, self.kernels, self.threads = list(layers), kernels, threads
        self.scratch = Scratch() if scratch is None else scratch
        self.prepared: dict[int, RowProgram] = {}

    def __call__(self, features: Tensor, residual: Tensor | None = None) -> Tensor:
        channels, filters = self.layers[0].weight.shape[1], len(self.layers[-1].bias)
        if features.shape[-1] != channels:  # a kernel would write more rows than the result has
            msg = f"{channels} features are needed, not {features.shape[-1]}"
            raise RuntimeError(msg)
        rows = features.reshape(-1, channels).contiguous()
        result = features.new_empty(*features.shape[:-1], filters)
        # shapes are known for one image: a residual may turn out to be the same for all of a batch
        inside = residual is not None and residual.shape == result.shape
        added = residual.contiguous() if residual is not None and inside else None
        program = self._prepared(len(rows)).between(rows, result, added)
        run_together(self.kernels, program, 0, 1, 1, self.threads)
        return result if residual is None or inside else result + residual

    def _prepared(self, count: int) -> RowProgram:
        if count not in self.prepared:
            if len(self.prepared) == MOST_COUNTS:
                self.prepared.pop(next(iter(self.prepared)))
            self.prepared[count] = self._prepare(count)
        return self.prepared[count]

    def _prepare(self, count: int) -> RowProgram:
        grid, machine = PlaneGrid(1, count), Machine(self.kernels.lanes, self.threads)
        widths = [self.layers[0].weight.shape[1], *(len(layer.bias) for layer in self.layers)]
        planes = [self._planes(place, grid, width) for place, width in enumerate(widths)]
        steps: list[NativeStep] = []
        for layer, source, out in zip(self.layers, planes, planes[1:], strict=False):
            steps.append(_product(layer, source, out, machine))
            if layer.gelu:
                steps.append(_gelu(out))
        return RowProgram(steps, planes)

    def _planes(self, place: int, grid: PlaneGrid, channels: int) -> Planes:
        return self.scratch.setdefault((place, grid, channels), Planes(grid, channels, 1))


def _product(layer: Linear, source: Planes, out: Planes, machine: Machine) -> NativeStep:
    weight = layer.weight.view(*layer.weight.shape, 1, 1)
    conv = Convolution(layer.name, layer.label, layer.source, weight, layer.bias)
    found = NonZeros.of(conv)
    offsets = found.channels * source.grid.plane
    operands = (plane_operand(source), plane_operand(out), None)
    return product_step(conv, found, offsets, operands, out.grid, machine, CAP)


def _gelu(planes: Planes) -> NativeStep:
    place, positions = plane_operand(planes), planes.grid.positions
    place.holds(0, place.plane * (planes.channels - 1) + FLOAT * positions)
    return NativeStep.of(StepKind.GELU, x=place).set(
        channels=planes.channels, x_plane=place.plane, positions=positions
    )


class RowProgram:
    """Rows to planes, what is done on planes, planes to rows.

    The rows' addresses change from call to call.
    """

    def __init__(self, between: Sequence[NativeStep], planes: Sequence[Planes]) -> None:
        self.kept = list(between), list(planes)  # the memory whose addresses are in the fields
        source, out, count = planes[0], planes[-1], planes[0].grid.width
        read, made = (plane_operand(p) for p in (source, out))
        for place, width in ((read, source.channels), (made, out.channels)):
            place.holds(0, place.plane * (width - 1) + FLOAT * count)
        into = NativeStep.of(StepKind.TRANSPOSE, y=read).set(
            height=count, width=source.channels,
            x_line=FLOAT * source.channels, y_line=read.plane,
        )  # fmt: skip
        back = NativeStep.of(StepKind.TRANSPOSE, x=made).set(
            height=out.channels, width=count,
            x_line=made.plane, y_line=FLOAT * out.channels,
        )  # fmt: skip
        self.fields = torch.stack([step.fields for step in (into, *between, back)])
        self.numbers = self.fields.numpy()  # of the same memory, quicker to write

    def between(self, rows: Tensor, result: Tensor, added: Tensor | None) -> tuple[int, int, int]:
        """Addresses of the steps that turn `rows` into `result`, plus what is added to it; all
        contiguous. There is no tail."""
        self.numbers[0, Field.X], self.numbers[-1, Field.Y] = rows.data_ptr(), result.data_ptr()
        self.numbers[-1, Field.RESIDUAL] = 0 if added is None else added.data_ptr()
        first = self.fields.data_ptr()
        end = first + FIELD_BYTES * FIELDS * len(self.fields)
        return first, end, end
