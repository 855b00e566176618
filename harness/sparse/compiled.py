"""The compiled network: a list of steps over memory that is laid out once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, Self

import torch
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.sparse.activation_layout import BlockGrid, StoredValue, Workspace, empty_table
from harness.sparse.compile_plan import CompilePlan
from harness.sparse.form_choice import Choices, Size, grid_of, makes_fresh
from harness.sparse.operation_graph import (
    Add,
    Affine,
    Concatenate,
    Convolution,
    Linear,
    MaxPool,
    Mean,
    Operation,
    OperationGraph,
    Pointwise,
    Untouched,
)
from harness.sparse.plain_calls import plain_call
from harness.sparse.saved_network import write_network
from harness.sparse.steps import (
    AddStep,
    AffineStep,
    CopyStep,
    DenseLinear,
    JoinStep,
    MeanStep,
    PointwiseStep,
    PoolStep,
    SparseLinear,
    plain_image,
)


class CompiledNetwork(nn.Module):
    """Logits of a pruned network for images (N,C,H,W) float32 on the CPU, for inference only.

    Equal to the network it was compiled from up to the order of float sums. C, H, W are those of
    the example; N is free. Memory between layers belongs to the module, so one thread at a time
    may call it; copying the module returns the module itself.
    `plan` tells what was chosen for every layer, and `plan.network` for the whole.
    """

    def __init__(
        self, run: Callable[[Tensor], Tensor], image_shape: Sequence[int], plan: CompilePlan
    ) -> None:
        super().__init__()
        self.plan = plan
        self.image_shape = tuple(image_shape)
        self._run = (run,)  # a module of the user's own is no part of this one
        self._graph: OperationGraph | None = None
        super().train(False)

    @classmethod
    def of(cls, network: OperationGraph, choices: Choices, plan: CompilePlan) -> CompiledNetwork:
        """The sparse network that runs `network` as planned."""
        return cls.running(Program(network, choices, plan), network, plan)

    @classmethod
    def running(
        cls, run: Callable[[Tensor], Tensor], network: OperationGraph, plan: CompilePlan
    ) -> CompiledNetwork:
        """The sparse network that `run` computes."""
        made = cls(run, network.shapes[network.input][1:], plan)
        made._graph = network
        return made

    def save(self, path: str | Path) -> None:
        """Write operations, weights and plan to one file, which `harness.sparse.load` starts from.

        The model's code is not needed there. Raises ProtocolError if the network does not run
        sparse, or calls what has no name in such files.
        """
        write_network(self._graph, self.plan, Path(path))

    def extra_repr(self) -> str:
        return f"{self.plan.network}, {self.plan.threads} threads"

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != tuple(self.image_shape):
            wanted = ", ".join(map(str, self.image_shape))
            msg = (
                f"images of shape {tuple(images.shape)} do not fit: this network was compiled for "
                f"(N, {wanted}). Compile it again with an example of the new size"
            )
            raise ProtocolError(msg)
        if len(images) == 0:
            raise ProtocolError("at least one image is needed; this batch is empty")
        if images.dtype != torch.float32 or images.device.type != "cpu":
            msg = f"float32 images on the CPU are needed, not {images.dtype} on {images.device}"
            raise ProtocolError(msg)
        with torch.inference_mode():
            return self._run[0](images)

    def train(self, mode: bool = True) -> Self:
        """The module itself; raises ProtocolError for training mode."""
        if mode:
            raise ProtocolError(
                "a compiled network cannot be trained; train the model it came from"
            )
        return self

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise ProtocolError(
            "a compiled network cannot be pickled: it holds machine code of this process. Write it "
            "with its method save, and read it with harness.sparse.load"
        )


class Program:
    """Steps in order; values live in `stored`, what is no feature map in `loose`."""

    def __init__(self, network: OperationGraph, choices: Choices, plan: CompilePlan) -> None:
        self.network, self.choices = network, choices
        layers = [op for op in network.operations if isinstance(op, Convolution | Linear)]
        forms = (layer.form for layer in plan.layers)
        self.forms = {op.name: form for op, form in zip(layers, forms, strict=True)}
        self.rows: dict[Size, int] = plan.rows_per_block
        # What was only measured goes; what runs is built again in memory of its own.
        self.workspace = choices.workspace = Workspace(widest=choices.workspace.widest)
        self.stored: dict[str, StoredValue] = {}
        self.loose: dict[str, Any] = {}
        self.steps: list[tuple[Callable[[], None], list[StoredValue]]] = []
        self.free: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        self.source = self._place(network.input)
        self._build()
        choices.entries.clear()
        self.result = self._reader(network.output)

    def __call__(self, images: Tensor) -> Tensor:
        results = [self._one(images[i : i + 1]) for i in range(len(images))]
        return results[0] if len(results) == 1 else torch.cat(results)

    def _one(self, image: Tensor) -> Tensor:
        if self.source is None:
            self.loose[self.network.input] = image
        else:
            self.source.image().copy_(image)
        for step, finished in self.steps:
            step()
            for value in finished:
                value.release()
        result = self.result()
        assert isinstance(result, Tensor)  # checked when the model was traced
        return result.clone()

    def _build(self) -> None:
        """One step per operation; memory is handed on once its value has been read for good."""
        last = {value: op for op in self.network.operations for value in op.inputs}
        for operation in self.network.operations:
            step, finished = self._step(operation), []
            for value in dict.fromkeys(operation.inputs):
                kept = value in (self.network.input, self.network.output)
                if last[value] is operation and value in self.stored and not kept:
                    stored = self.stored[value]
                    if stored.fixed:
                        self.free[stored.grid.matrix].append(stored.table)
                    else:
                        finished.append(stored)
            self.steps.append((step, finished))

    def _grid(self, value: str) -> BlockGrid | None:
        return grid_of(self.network, value, self.rows)

    def _place(self, value: str) -> StoredValue | None:
        """Memory for a value, from what is free if any fits; None for what is no feature map."""
        grid = self._grid(value)
        if grid is None:
            return None
        maker = self.network.producer(value)
        if isinstance(maker, Convolution) and makes_fresh(self.forms[maker.name], maker, grid):
            self.stored[value] = StoredValue(grid)
        else:
            free = self.free[grid.matrix]
            self.stored[value] = StoredValue(
                grid, free.pop() if free else empty_table(*grid.matrix)
            )
        return self.stored[value]

    def _step(self, operation: Operation) -> Callable[[], None]:
        if isinstance(operation, Untouched):
            return self._untouched(operation)
        if isinstance(operation, Linear):
            return self._linear(operation)
        sources = [self.stored[value] for value in operation.inputs]
        out = self._place(operation.name)
        assert out is not None  # all other operations make feature maps
        if isinstance(operation, Convolution):
            residual = sources[1] if operation.residual else None
            form = self.forms[operation.name]
            return self.choices.step(form, operation, sources[0], out, residual)
        return self._on_maps(operation, sources, out)

    def _on_maps(
        self, operation: Operation, sources: list[StoredValue], out: StoredValue
    ) -> Callable[[], None]:
        source = sources[0]
        match operation:
            case MaxPool():
                return PoolStep(operation, source, out, self.workspace)
            case Mean():
                return MeanStep(source, out)
            case Pointwise():
                return PointwiseStep(operation, source, out)
            case Affine():
                return AffineStep(operation, source, out)
            case Add():
                return AddStep(source, sources[-1], out, operation.activation)
            case Concatenate():
                return JoinStep([self.stored[value] for value in operation.sources], out)
        raise AssertionError(operation)

    def _reader(self, value: str) -> Callable[[], object]:
        """What returns the value in the form that PyTorch's own operations read.

        In memory of its own: they may return views of it, which outlive the value.
        """
        if value not in self.stored:
            return lambda: self.loose[value]
        image, copy = plain_image(self.stored[value], self.workspace)

        def read() -> Tensor:
            if copy is not None:
                copy()
            return image.get().clone()

        return read

    def _linear(self, operation: Linear) -> Callable[[], None]:
        sparse = self.forms[operation.name] == "csr"
        layer = SparseLinear(operation) if sparse else DenseLinear(operation)

        def run() -> None:
            given = [self.loose[value] for value in operation.inputs]
            self.loose[operation.name] = layer(*given)

        return run

    def _untouched(self, operation: Untouched) -> Callable[[], None]:
        readers = {value: self._reader(value) for value in operation.inputs}
        out = self._place(operation.name)
        plain = None if out is None else StoredValue.empty(out.grid.cut(out.grid.height))
        store = None if out is None or plain is None else CopyStep(plain, out)
        call = plain_call(operation)

        def run() -> None:
            result = call(lambda value: readers[value]())
            if plain is None or store is None:
                self.loose[operation.name] = result
            else:
                plain.image().copy_(result)
                store()

        return run
