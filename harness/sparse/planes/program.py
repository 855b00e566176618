"""A network as native steps on planes, with PyTorch's own operations in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
)
from harness.sparse.planes.bands import BandedStretch, around_large_maps, reads_planes
from harness.sparse.planes.depthwise_step import depthwise_step, is_depthwise
from harness.sparse.planes.grids import pools_natively, size_of
from harness.sparse.planes.layout import PlaneGrid, Planes
from harness.sparse.planes.memory import PlaneMemory
from harness.sparse.planes.nonzeros import NonZeros
from harness.sparse.planes.slices import BlockForm, SlicedProduct
from harness.sparse.planes.small_maps import tail_of
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
    """Native steps without anything else in between. before: how many come before the tail."""

    steps: list[NativeStep] = field(default_factory=list)
    before: int = 0
    program: Tensor | None = None

    def addresses(self, first: int = 0, end: int | None = None) -> tuple[int, int, int]:
        """Of the steps first <= n < end: of the first, of the first of the tail, of the end."""
        if self.program is None:
            self.program = torch.cat([step.fields for step in self.steps])
        end = len(self.steps) if end is None else end
        start, row = self.program.data_ptr(), FIELD_BYTES * FIELDS
        tail = min(max(first, self.before), end)
        return start + row * first, start + row * tail, start + row * end


class PlaneProgram:
    """Logits of images (N,...); a thread takes one image through the native steps at a time, and
    several together through those of the tail, see small_maps.

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
        self.banded = around_large_maps(self.network, self._native) if bands > 1 else []
        self.tail = tail_of(self.network, self._native, len(self.banded), self.count // threads)
        self.memory = PlaneMemory(self.network, self._native, self.tail, self.count, threads)
        self.loose: dict[str, Any] = {}
        scratch = Scratch()
        self.linears = {
            name: linear_step(forms[name], layers, kernels, threads, scratch)
            for name, layers in chains.items()
        }
        self.steps: list[Segment | Callable[[int], None]] = []
        self.images = torch.empty(0)
        self.spans: dict[str, tuple[Segment, list[NativeStep]]] = {}  # of a convolution
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

    def _run(self, program: tuple[int, int, int], count: int) -> None:
        images = self.images.data_ptr()
        run_together(self.kernels, program, images, count, self.tail.images, self.threads)

    def milliseconds(self, convolution: str, count: int) -> float:
        """Of the native steps of one convolution, on what the last images left in memory."""
        segment, steps = self.spans[convolution]
        first = next(n for n, step in enumerate(segment.steps) if step is steps[0])
        program = segment.addresses(first, first + len(steps))
        return milliseconds(lambda: self._run(program, count))

    def _native(self, operation: Operation) -> bool:
        if isinstance(operation, Convolution):
            return self.forms[operation.name] in PLANES
        if isinstance(operation, MaxPool):
            return pools_natively(self.network, operation)
        return isinstance(operation, Mean)

    def _build(self) -> None:
        last = {value: op for op in self.network.operations for value in op.inputs}
        for operation in self.network.operations:
            read = [
                value
                for value in dict.fromkeys(operation.inputs)
                if last[value] is operation and value != self.network.output
            ]
            if operation not in self.banded:
                self._add(operation, read)
            elif operation is self.banded[-1]:
                self._in_bands(self.banded)
            self.memory.hand_on(read)

    def _on_planes(self, value: str, in_tail: bool = False) -> Operand:
        """A value as planes; the images handed in are copied there first. in_tail: for the tail,
        with images beside each other."""
        memory, (_, channels, height, width) = self.memory, self.network.shapes[value]
        size = channels, height, width
        if value not in memory.planes:
            source = memory.operand(value)
            self._native_step(resample(source, memory.place(value), (0, 0), size, 1))
        if not in_tail or self._in_tail(value):
            return memory.operand(value)
        if value in memory.beside:
            return plane_operand(memory.beside[value])
        whole, one = memory.copy_beside(value)
        self._native_step(resample(memory.operand(value), one, (0, 0), size, 1))
        return whole

    def _native_step(self, *steps: NativeStep, in_tail: bool = False) -> Segment:
        """Add to the stretch of native steps, or to its tail. Returns the stretch."""
        if not self.steps or not isinstance(self.steps[-1], Segment):
            self.steps.append(Segment())
        segment = self.steps[-1]
        assert isinstance(segment, Segment)
        place = len(segment.steps) if in_tail else segment.before
        segment.steps[place:place] = steps
        segment.before += 0 if in_tail else len(steps)
        return segment

    def _add(self, operation: Operation, read: Sequence[str]) -> None:
        """read: the values that no later operation reads."""
        if not self._native(operation):
            self.memory.forget_copies()
            self.steps.append(self._torch_step(operation, read))
        elif isinstance(operation, Convolution):
            if is_depthwise(operation):
                self._depthwise(operation)
            else:
                self._convolution(operation, read)
        elif isinstance(operation, MaxPool):
            shape = self.network.shapes[operation.name]
            self._of_each(operation, lambda read, made: pool_step(operation, read, made, shape))
        elif isinstance(operation, Mean):
            grid = self.memory.map_grid(operation.source)
            channels = self.network.shapes[operation.name][1]
            self._of_each(operation, lambda read, made: mean_step(read, made, grid, channels))

    def _of_each(
        self,
        operation: Convolution | MaxPool | Mean,
        made: Callable[[Operand, Operand], NativeStep],
    ) -> tuple[Segment, list[NativeStep]]:
        """A step for each of the images that are beside each other, and where they are added."""
        memory, source = self.memory, operation.source
        if not self._in_tail(operation.name):
            steps = [made(self._on_planes(source), memory.place(operation.name))]
        elif not self._in_tail(source):
            steps = [made(memory.operand(source), memory.place_beside(operation.name))]
        else:
            memory.place(operation.name)
            pairs = zip(memory.each(source), memory.each(operation.name), strict=True)
            steps = [made(*pair) for pair in pairs]
        return self._native_step(*steps, in_tail=self._in_tail(source)), steps

    def _depthwise(self, conv: Convolution) -> None:
        shape = self.network.shapes[conv.name]
        self.spans[conv.name] = self._of_each(
            conv, lambda read, made: depthwise_step(conv, read, made, shape)
        )

    def _convolution(self, conv: Convolution, read: Sequence[str]) -> None:
        shapes, in_tail = self.network.shapes, self._in_tail(conv.name)
        grid = self.memory.map_grid(conv.name)
        residual = self._on_planes(conv.residual, in_tail) if conv.residual else None
        out = self._sum_in_place(conv, read) or self.memory.place(conv.name)
        steps, found = list[NativeStep](), NonZeros.of(conv)
        if reads_in_place(conv, shapes[conv.source], shapes[conv.name]):
            source = self._on_planes(conv.source, in_tail)
            offsets = in_place_offsets(conv, found, grid.plane, grid.pitch)
        else:
            phases = Phases(conv, shapes[conv.source][1], grid)
            source, steps = self._phases(conv, phases, grid)
            offsets = phases.offsets(conv, found)
        machine = Machine(self.kernels.lanes, self.threads)
        form = BlockForm.of(self.forms[conv.name])
        planes = out.plane, residual.plane if residual else 0
        product = SlicedProduct(conv, found, offsets, grid, planes, machine, form)
        steps += product.steps(source, out, residual)
        self.spans[conv.name] = self._native_step(*steps, in_tail=in_tail), steps

    def _phases(
        self, conv: Convolution, phases: Phases, grid: PlaneGrid
    ) -> tuple[Operand, list[NativeStep]]:
        """Memory for the copies of a convolution's input, and the steps that make them; those of
        the tail that read what comes before it are added there."""
        copies, memory = Planes(phases.grid, phases.planes, self.threads), self.memory
        self.loose["phases of " + conv.name] = copies
        goal, apart = plane_operand(copies), FLOAT * grid.apart
        size = size_of(self.network, conv.source)

        def copied(source: Operand, goal: Operand) -> list[NativeStep]:
            return phases.steps(source, size, goal, (0, grid.height), (0, size[0]))

        if not self._in_tail(conv.name):
            return goal, copied(memory.operand(conv.source), goal)
        if not self._in_tail(conv.source):
            self._native_step(*copied(memory.operand(conv.source), replace(goal, work=apart)))
            return goal, []
        sources = enumerate(memory.each(conv.source))
        return goal, [step for n, one in sources for step in copied(one, goal.moved(n * apart))]

    def _in_tail(self, value: str) -> bool:
        return value in self.tail.made

    def _sum_in_place(self, conv: Convolution, read: Sequence[str]) -> Operand | None:
        """The memory of the residual, if nothing else reads it and the result can lie there."""
        if conv.residual is None or conv.residual not in read or conv.residual == conv.source:
            return None
        return self.memory.place_over(conv.name, conv.residual)

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
                whole[operation.name] = self.memory.place(operation.name)
        machine = Machine(self.kernels.lanes, self.threads)
        forms = {name: BlockForm.of(form) for name, form in self.forms.items() if form in PLANES}
        memory = self.network, operations, self.bands, self.memory.grids, whole
        stretch = self.loose["bands"] = BandedStretch(*memory, forms, machine)
        self._native_step(*stretch.steps())

    def _whole(self, value: str, reader: Convolution | MaxPool) -> Operand:
        """A value that others write, as a band's operation reads it."""
        copied = isinstance(reader, Convolution) and not reads_planes(self.network, reader)
        return (
            self.memory.operand(value)
            if copied and value == reader.inputs[0]
            else self._on_planes(value)
        )

    def _read(self, value: str, count: int) -> Any:
        """A value as PyTorch's own operations read it, in memory of its own."""
        if value in self.memory.planes and value != self.network.input:
            return self.memory.planes[value].read(self.network.shapes[value][1], count)
        return self.loose[value]

    def _torch_step(self, operation: Operation, read: Sequence[str]) -> Callable[[int], None]:
        if self.memory.grid(operation.name) is not None:
            self.memory.place(operation.name)
        planes = self.memory.planes.get(operation.name)
        compute = torch_operation(operation, self.linears)

        def run(count: int) -> None:
            result = compute(lambda value: self._read(value, count))
            for value in read:  # so that the next one is written where the cache has it still
                self.loose.pop(value, None)
            if planes is None:
                self.loose[operation.name] = result
            else:
                planes.write(result.expand(count, *result.shape[1:]))  # of all images, or for all

        return run
