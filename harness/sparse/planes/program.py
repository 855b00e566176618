"""A network as native steps on planes, with PyTorch's own operations in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from harness.sparse.form_choice import PLANES
from harness.sparse.native.fields import FIELD_BYTES, FIELDS
from harness.sparse.native.kernels import Kernels
from harness.sparse.native.threads import run_together
from harness.sparse.operation_graph import (
    Convolution,
    Linear,
    MaxPool,
    Mean,
    Operation,
    OperationGraph,
    is_feature_map,
)
from harness.sparse.planes.bands import BandedStretch, around_large_maps, reads_planes
from harness.sparse.planes.depthwise_step import depthwise_step, is_depthwise
from harness.sparse.planes.grids import plane_grids, pools_natively, size_of
from harness.sparse.planes.layout import PlaneGrid, Planes
from harness.sparse.planes.nonzeros import NonZeros
from harness.sparse.planes.slices import BlockForm, SlicedProduct
from harness.sparse.planes.steps import (
    FLOAT,
    Machine,
    NativeStep,
    Operand,
    mean_step,
    plane_operand,
    pool_step,
    resample,
)
from harness.sparse.planes.taps import Phases, in_place_offsets, reads_in_place
from harness.sparse.planes.token_chains import chained
from harness.sparse.planes.token_product import Scratch, TokenProduct
from harness.sparse.planes.torch_steps import torch_operation
from harness.sparse.step_timing import milliseconds
from harness.sparse.steps import DenseLinear, SparseLinear


def linear_step(
    form: str,
    layers: Sequence[Linear],
    kernels: Kernels,
    threads: int,
    scratch: Scratch | None = None,
) -> Callable[..., Tensor]:
    """What computes linear layers after each other in one form; several on planes only."""
    if form == "dense":
        return DenseLinear(*layers)
    if form == "csr":
        return SparseLinear(*layers)
    return TokenProduct(layers, kernels, threads, scratch)


@dataclass
class Segment:
    """Native steps without anything else in between."""

    steps: list[NativeStep] = field(default_factory=list)
    program: Tensor | None = None

    def addresses(self) -> tuple[int, int]:
        if self.program is None:
            self.program = torch.cat([step.fields for step in self.steps])
        first = self.program.data_ptr()
        return first, first + FIELD_BYTES * FIELDS * len(self.steps)


class PlaneProgram:
    """Logits of images (N,...); one thread takes one image through the native steps at a time.

    forms: layer -> one of PLANES (see BlockForm), "dense", and for linear ones "csr" or "dense".
    batch: images to expect; more are run in several goes. bands: in which the layers around large
    maps are run, see bands.
    """

    def __init__(
        self,
        network: OperationGraph,
        kernels: Kernels,
        forms: dict[str, str],
        batch: int,
        threads: int,
        bands: int = 1,
    ) -> None:
        self.network, chains = chained(network, forms)
        self.kernels, self.forms, self.bands = kernels, forms, bands
        self.count, self.threads = max(batch, threads), threads
        self.grids = plane_grids(self.network)
        self.loose: dict[str, Any] = {}
        self.planes: dict[str, Planes] = {}
        scratch = Scratch()
        self.linears = {
            name: linear_step(forms[name], layers, kernels, threads, scratch)
            for name, layers in chains.items()
        }
        self.free: dict[tuple[PlaneGrid, bool], list[Planes]] = defaultdict(list)
        self.steps: list[Segment | Callable[[int], None]] = []
        self.images = torch.empty(0)
        self.spans: dict[str, tuple[Segment, int, int]] = {}  # native steps of a convolution
        self._build()

    def __call__(self, images: Tensor) -> Tensor:
        results = [self._batch(part.contiguous()) for part in images.split(self.count)]
        return results[0] if len(results) == 1 else torch.cat(results)

    def _batch(self, images: Tensor) -> Tensor:
        count = len(images)
        self.images = self.loose[self.network.input] = images
        for step in self.steps:
            if isinstance(step, Segment):
                self._run(step.addresses(), count)
            else:
                step(count)
        result = self._read(self.network.output, count)
        assert isinstance(result, Tensor)  # checked when the model was traced
        return result

    def _run(self, program: tuple[int, int], count: int) -> None:
        images = self.images.data_ptr()
        run_together(self.kernels, program, images, count, 1, self.threads)

    def milliseconds(self, convolution: str, count: int) -> float:
        """Of the native steps of one convolution, on what the last images left in memory."""
        segment, first, last = self.spans[convolution]
        start = segment.addresses()[0]
        row = FIELD_BYTES * FIELDS
        program = (start + row * first, start + row * last)
        return milliseconds(lambda: self._run(program, count))

    def _native(self, operation: Operation) -> bool:
        if isinstance(operation, Convolution):
            return self.forms[operation.name] in PLANES
        if isinstance(operation, MaxPool):
            return pools_natively(self.network, operation)
        return isinstance(operation, Mean)

    def _build(self) -> None:
        operations = self.network.operations
        runs, number = {self.network.input: -1}, 0  # value -> number of the stretch it is made in
        for place, operation in enumerate(operations):
            if place and not (self._native(operation) and self._native(operations[place - 1])):
                number += 1
            runs[operation.name] = number
        readers = {value: self.network.users(value) for value in runs}
        self.shared = {  # read or written outside one stretch of native steps
            value
            for value in runs
            for maker in [self.network.producer(value)]
            if value == self.network.output
            or any(runs[user.name] != runs[value] for user in readers[value])
            or not (maker is None or self._native(maker))
        }
        last = {value: op for op in operations for value in op.inputs}
        banded = around_large_maps(self.network, self._native) if self.bands > 1 else []
        for operation in operations:
            read = [
                value
                for value in dict.fromkeys(operation.inputs)
                if last[value] is operation and value != self.network.output
            ]
            if operation not in banded:
                self._add(operation, read)
            elif operation is banded[-1]:
                self._in_bands(banded)
            for value in read:
                self._hand_on(value)

    def _hand_on(self, value: str) -> None:
        planes = self.planes.get(value)
        if planes is not None:
            self.free[planes.grid, value in self.shared].append(planes)

    def _grid(self, value: str) -> PlaneGrid | None:
        shape = self.network.shapes.get(value, ())
        return self.grids[shape[2:]] if is_feature_map(shape) else None

    def _place(self, value: str) -> Operand:
        """Memory for a value, from what is free if any fits."""
        grid, channels = self._grid(value), self.network.shapes[value][1]
        assert grid is not None
        shared = value in self.shared
        free = self.free[grid, shared]
        fitting = [planes for planes in free if planes.channels >= channels]
        if fitting:
            planes = min(fitting, key=lambda planes: planes.channels)
            free.remove(planes)
        else:
            planes = Planes(grid, channels, self._slots(shared))
        self.planes[value] = planes
        return plane_operand(planes, shared)

    def _slots(self, shared: bool) -> int:
        return self.count if shared else self.threads

    def _source(self, value: str) -> Operand:
        """A value in memory; the images handed in are read where they are."""
        if value in self.planes:
            return plane_operand(self.planes[value], value in self.shared)
        assert value == self.network.input
        channels, height, width = self.network.shapes[value][1:]
        image = FLOAT * channels * height * width
        return Operand(0, 0, image, FLOAT * height * width, FLOAT * width, 0, image)

    def _on_planes(self, value: str) -> Operand:
        """A value as planes; the images handed in are copied there first."""
        if value not in self.planes:
            source, (_, channels, height, width) = self._source(value), self.network.shapes[value]
            self._native_step(
                resample(source, self._place(value), (0, 0), (channels, height, width), 1)
            )
        return self._source(value)

    def _native_step(self, *steps: NativeStep) -> tuple[Segment, int]:
        """Append to the stretch of native steps; which, and the number of the first of `steps`."""
        if not self.steps or not isinstance(self.steps[-1], Segment):
            self.steps.append(Segment())
        segment = self.steps[-1]
        assert isinstance(segment, Segment)
        segment.steps.extend(steps)
        return segment, len(segment.steps) - len(steps)

    def _add(self, operation: Operation, read: Sequence[str]) -> None:
        """read: the values that no later operation reads."""
        if not self._native(operation):
            self.steps.append(self._torch_step(operation, read))
        elif isinstance(operation, Convolution):
            (self._depthwise if is_depthwise(operation) else self._convolution)(operation)
        elif isinstance(operation, MaxPool):
            source = self._on_planes(operation.source)
            out = self._place(operation.name)
            shape = self.network.shapes[operation.name]
            self._native_step(pool_step(operation, source, out, shape))
        elif isinstance(operation, Mean):
            grid = self._grid(operation.source)
            assert grid is not None
            source, out = self._on_planes(operation.source), self._place(operation.name)
            channels = self.network.shapes[operation.name][1]
            self._native_step(mean_step(source, out, grid, channels))

    def _depthwise(self, conv: Convolution) -> None:
        source, out = self._on_planes(conv.source), self._place(conv.name)
        step = depthwise_step(conv, source, out, self.network.shapes[conv.name])
        segment, first = self._native_step(step)
        self.spans[conv.name] = segment, first, first + 1

    def _convolution(self, conv: Convolution) -> None:
        shapes, grid = self.network.shapes, self._grid(conv.name)
        assert grid is not None
        residual = self._on_planes(conv.residual) if conv.residual else None
        out, steps, found = self._place(conv.name), list[NativeStep](), NonZeros.of(conv)
        if reads_in_place(conv, shapes[conv.source], shapes[conv.name]):
            source = self._on_planes(conv.source)
            offsets = in_place_offsets(conv, found, grid.plane, grid.pitch)
        else:
            before, size = self._source(conv.source), size_of(self.network, conv.source)
            phases = Phases(conv, shapes[conv.source][1], grid)
            copies = Planes(phases.grid, phases.planes, self._slots(False))
            self.loose["phases of " + conv.name] = copies
            source = plane_operand(copies, False)
            steps = phases.steps(before, size, source, (0, grid.height), (0, size[0]))
            offsets = phases.offsets(conv, found)
        machine = Machine(self.kernels.lanes, self.threads)
        form = BlockForm.of(self.forms[conv.name])
        planes = out.plane, residual.plane if residual else 0
        product = SlicedProduct(conv, found, offsets, grid, planes, machine, form)
        steps += product.steps(source, out, residual)
        segment, first = self._native_step(*steps)
        self.spans[conv.name] = segment, first, first + len(steps)

    def _in_bands(self, operations: list[Convolution | MaxPool]) -> None:
        """Native steps of several operations, band by band."""
        whole: dict[str, Operand] = {}
        made = {op.name for op in operations}
        for operation in operations:
            for value in operation.inputs:
                if value not in made and value not in whole:
                    whole[value] = self._whole(value, operation)
            users = {user.name for user in self.network.users(operation.name)}
            if users - made or operation.name == self.network.output:
                whole[operation.name] = self._place(operation.name)
        machine = Machine(self.kernels.lanes, self.threads)
        forms = {name: BlockForm.of(form) for name, form in self.forms.items() if form in PLANES}
        memory = self.network, operations, self.bands, self.grids, whole
        stretch = self.loose["bands"] = BandedStretch(*memory, forms, machine)
        self._native_step(*stretch.steps())

    def _whole(self, value: str, reader: Convolution | MaxPool) -> Operand:
        """A value that others write, as a band's operation reads it."""
        copied = isinstance(reader, Convolution) and not reads_planes(self.network, reader)
        return (
            self._source(value) if copied and value == reader.inputs[0] else self._on_planes(value)
        )

    def _read(self, value: str, count: int) -> Any:
        """A value as PyTorch's own operations read it, in memory of its own."""
        if value in self.planes:
            channels = self.network.shapes[value][1]
            view = self.planes[value].view(channels, count)
            return view.clone(memory_format=torch.contiguous_format)
        return self.loose[value]

    def _torch_step(self, operation: Operation, read: Sequence[str]) -> Callable[[int], None]:
        grid = self._grid(operation.name)
        if grid is not None:
            self._place(operation.name)
        planes = self.planes.get(operation.name)
        channels = self.network.shapes.get(operation.name, (0, 0))[1] if planes else 0
        compute = torch_operation(operation, self.linears)

        def run(count: int) -> None:
            result = compute(lambda value: self._read(value, count))
            for value in read:  # so that the next one is written where the cache has it still
                self.loose.pop(value, None)
            if planes is None:
                self.loose[operation.name] = result
            else:
                planes.view(channels, count).copy_(result)

        return run
