"""Which way each layer is run, and how feature maps are cut into blocks: whatever is fastest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from harness.errors import ProtocolError
from harness.sparse import tables
from harness.sparse.activation_layout import BlockGrid, StoredValue, Workspace, divisors
from harness.sparse.compile_plan import LayerPlan
from harness.sparse.operation_graph import (
    Convolution,
    Linear,
    MaxPool,
    OperationGraph,
    is_feature_map,
)
from harness.sparse.sparse_products import KERNELS, Entries, product
from harness.sparse.step_timing import milliseconds
from harness.sparse.steps import (
    DenseConvolution,
    DenseLinear,
    Finish,
    Keep,
    PoolStep,
    SparseConvolution,
    SparseLinear,
)

DENSE = {"dense": torch.contiguous_format, "dense-channels-last": torch.channels_last}
# Registers of pixels per block, and whether channels are sliced, see planes.slices.
PLANES = ("planes-4", "planes-8-sliced", "planes-8")
TABLES = tuple(f"{kind}-{kernel}" for kind in tables.KINDS for kernel in KERNELS)
FORMS = (*PLANES, *TABLES, *DENSE)
LINEAR_FORMS = ("csr", "dense")
# Above this share of an ungrouped layer's weights a sparse product cannot win: it reaches about
# half the multiply-accumulates per second of a dense one.
DENSEST = 0.6
SPARSEST = 0.1  # below this share of its own weights a dense product is not timed any more
LIKE_DENSITIES = 4  # steps per factor of e
MOST_ENTRIES = 30_000_000  # 240 MB of indices and values in one layer
# A block of these many floats per channel keeps sparse products in the fast cache.
BLOCK_FLOATS = (48, 260)


@dataclass
class Choices:
    """Builds steps in every form, measures them, and remembers what it built."""

    network: OperationGraph
    allowed: Sequence[str]
    workspace: Workspace = field(default_factory=Workspace)
    entries: dict[tuple[object, ...], Entries] = field(default_factory=dict)
    measured: dict[tuple[object, ...], float] = field(default_factory=dict)
    nnz: dict[str, int] = field(default_factory=dict)  # of each convolution's weight

    def __post_init__(self) -> None:
        for conv in self.network.convolutions():
            self.nnz[conv.name] = conv.nnz
            shape = self.network.shapes[conv.source]
            for kind in tables.KINDS:
                self.workspace.announce(tables.geometry(kind, conv, shape), shape[1])

    def forms(self, conv: Convolution, source: BlockGrid, out: BlockGrid) -> list[str]:
        """The allowed forms that fit a layer; where none is allowed, the plain dense one."""
        fitting = []
        hopeless = conv.groups == 1 and self.nnz[conv.name] < SPARSEST * conv.weight.numel()
        for form in self.allowed:
            kind, _, kernel = form.rpartition("-")
            if form in DENSE:
                fitting += [] if hopeless else [form]
            elif kernel in KERNELS and tables.fits(kind, conv, source, out):
                if self._worth(conv, kind, source, out):
                    fitting.append(form)
        return fitting or [form for form in self.allowed if form in DENSE] or ["dense"]

    def _worth(self, conv: Convolution, kind: str, source: BlockGrid, out: BlockGrid) -> bool:
        blocks = {"direct": out.blocks, "rows": out.height, "whole": 1}[kind]
        nnz = self.nnz[conv.name]
        if nnz * blocks > MOST_ENTRIES:
            return False
        only_sparse = not any(form in DENSE for form in self.allowed)
        return only_sparse or nnz <= DENSEST * _all_weights(conv, source)

    def step(
        self,
        form: str,
        conv: Convolution,
        source: StoredValue,
        out: StoredValue,
        residual: StoredValue | None,
    ) -> Callable[[], None]:
        """A step that runs a layer in one form between stored values; see `makes_fresh`."""
        if form in DENSE:
            return DenseConvolution(conv, source, out, residual, self.workspace, DENSE[form])
        kind, _, kernel = form.rpartition("-")
        prepared = tables.prepare(kind, conv, source, out.grid, self.workspace)
        key = (conv.name, kind, out.grid.rows if kind == "direct" else 0)
        if key not in self.entries:
            self.entries[key] = tables.entries(kind, conv, source.grid, out.grid, self.workspace)
        finish: Keep | Finish
        if out.fixed:
            finish = Finish(prepared.grid, prepared.pitch, out, conv.activation, residual)
        else:
            finish = Keep(out, conv.activation, residual)
        return SparseConvolution(prepared, product(kernel, self.entries[key]), finish)

    def times(
        self, conv: Convolution, source: BlockGrid, out: BlockGrid, quick: bool = False
    ) -> dict[str, float]:
        """Form -> milliseconds of a layer between values in the given layouts.

        quick: with one kernel per layout of the table, for a first comparison of layouts; layers of
        one geometry and about the same density count as one.
        """
        forms = self.forms(conv, source, out)
        if quick:
            bags = {form for form in forms if form.endswith("bag")}
            forms = [form for form in forms if form.replace("csr", "bag") not in bags - {form}]
        layer = self._like(conv, source) if quick else (conv.name,)
        return {form: self._ms(form, layer, conv, source, out) for form in forms}

    def _like(self, conv: Convolution, source: BlockGrid) -> tuple[object, ...]:
        """What layers have in common whose times hardly differ: densities within an eighth."""
        density = self.nnz[conv.name] / _all_weights(conv, source)
        return (
            *tables.geometry("", conv, (source.height, source.width)),
            conv.weight.shape[:2],
            conv.activation,
            conv.residual is None,
            round(LIKE_DENSITIES * math.log(density)) if density else None,
        )

    def _ms(
        self,
        form: str,
        layer: tuple[object, ...],
        conv: Convolution,
        source: BlockGrid,
        out: BlockGrid,
    ) -> float:
        layouts = (source.plain, out.plain) if form in DENSE else (source.rows, out.rows)
        key = (form, *layer, *layouts)
        if key not in self.measured:
            stored = StoredValue.empty(source)
            stored.flat.uniform_(0, 1)
            target = StoredValue(out) if makes_fresh(form, conv, out) else StoredValue.empty(out)
            residual = StoredValue.empty(out) if conv.residual else None
            step = self.step(form, conv, stored, target, residual)

            def run() -> None:
                target.release()  # as a network does once a value has been read
                step()

            self.measured[key] = milliseconds(run)
        return self.measured[key]

    def pool_ms(self, pool: MaxPool, source: BlockGrid, out: BlockGrid) -> float:
        """Milliseconds of a max pool between values in the given layouts."""
        step = PoolStep(pool, StoredValue.empty(source), StoredValue.empty(out), self.workspace)
        return milliseconds(step)


def _all_weights(conv: Convolution, source: BlockGrid) -> int:
    """Weights of the layer without groups."""
    return max(1, len(conv.bias) * source.channels * conv.weight[0, 0].numel())


def makes_fresh(form: str, conv: Convolution, out: BlockGrid) -> bool:
    """Whether a form's result already is a table in the layout of `out`: no copy, ones kept."""
    kind = form.rpartition("-")[0]
    if conv.activation is not None and not conv.activation.low <= 1.0 <= conv.activation.high:
        return False
    if kind == "whole":
        return out.plain and (conv.stride != (1, 1) or conv.weight.shape[3] == 1)
    return kind == "direct" or (kind == "rows" and out.rows == 1)


Size = tuple[int, int]


def choose_rows(choices: Choices) -> dict[Size, int]:
    """Image rows per block for every size of feature map.

    Sizes are decided in the order in which the network reaches them, each by the sum of its
    layers' fastest times; all values of one size share one layout, so nothing is ever rearranged
    between layers of a size.
    """
    network, decided = choices.network, dict[Size, int]()
    first = network.shapes[network.input]
    if is_feature_map(first):
        decided[first[2:]] = first[2]
    shapes = [network.shapes.get(operation.name, ()) for operation in network.operations]
    for size in dict.fromkeys(shape[2:] for shape in shapes if is_feature_map(shape)):
        if size not in decided:
            candidates = row_candidates(*size)
            costs = {rows: _cost(choices, size, decided | {size: rows}) for rows in candidates}
            decided[size] = min(costs, key=lambda rows: costs[rows])
    return decided


def row_candidates(height: int, width: int) -> list[int]:
    """The whole height, single rows, and what makes blocks of a size that suits the cache."""
    low, high = BLOCK_FLOATS
    fitting = {rows for rows in divisors(height) if low <= rows * width <= high}
    single = {1} if 2 * width >= low else set()
    return sorted(fitting | single | {height})


def _cost(choices: Choices, size: Size, rows: dict[Size, int]) -> float:
    total = 0.0
    for operation in choices.network.operations:
        if not isinstance(operation, Convolution | MaxPool):
            continue
        out = grid_of(choices.network, operation.name, rows)
        source = grid_of(choices.network, operation.source, rows)
        if out is None or source is None or (out.height, out.width) != size:
            continue
        if isinstance(operation, Convolution):
            total += min(choices.times(operation, source, out, quick=True).values())
        else:
            total += choices.pool_ms(operation, source, out)
    return total


def grid_of(network: OperationGraph, value: str, rows: dict[Size, int]) -> BlockGrid | None:
    """The layout of a value; None for what is no feature map or of a size not decided yet."""
    shape = network.shapes.get(value, ())
    if not is_feature_map(shape) or shape[2:] not in rows:
        return None
    _, channels, height, width = shape
    return BlockGrid(channels, height, width, rows[height, width])


def choose_forms(
    choices: Choices, rows: dict[Size, int], given: dict[str, GivenLayer]
) -> tuple[LayerPlan, ...]:
    """The plan of every convolution and linear layer, in order, by measurement.

    given: operation -> what it was in the model.
    """
    plans = []
    for operation in choices.network.operations:
        if isinstance(operation, Convolution):
            out = grid_of(choices.network, operation.name, rows)
            source = grid_of(choices.network, operation.source, rows)
            assert out is not None and source is not None  # feature maps of known sizes
            ms = choices.times(operation, source, out)
            macs = operation.nnz * out.height * out.width
        elif isinstance(operation, Linear):
            ms = _linear_times(choices, operation)
            macs = int(operation.weight.count_nonzero()) * positions_of(operation, choices.network)
        else:
            continue
        before = given[operation.name]
        plans.append(
            LayerPlan(
                name=operation.label,
                shape=before.shape,
                density=macs / before.macs,
                macs_dense=before.macs,
                macs_sparse=macs,
                form=min(ms, key=lambda form: ms[form]),  # noqa: B023
                ms=ms,
            )
        )
    return tuple(plans)


@dataclass(frozen=True)
class GivenLayer:
    """A layer in the model: its weight's shape, and its multiply-accumulates for one image."""

    shape: tuple[int, ...]
    macs: int


def positions_of(layer: Convolution | Linear, network: OperationGraph) -> int:
    """How often one image meets every weight: its pixels, or its tokens."""
    shape = network.shapes[layer.name]
    return torch.Size(shape[2:] if isinstance(layer, Convolution) else shape[:-1]).numel()


def given_layers(network: OperationGraph) -> dict[str, GivenLayer]:
    """Operation -> what its layer is before anything is rewritten."""
    found = {}
    for layer in network.operations:
        if isinstance(layer, Convolution | Linear):
            positions = positions_of(layer, network)
            shape = tuple(layer.weight.shape)
            found[layer.name] = GivenLayer(shape, layer.weight.numel() * positions)
    return found


def _linear_times(choices: Choices, linear: Linear) -> dict[str, float]:
    features = torch.rand(choices.network.shapes[linear.source])
    steps: dict[str, Callable[[Tensor], Tensor]] = {
        "csr": SparseLinear(linear),
        "dense": DenseLinear(linear),
    }
    wanted = {"dense" if form in DENSE else "csr" for form in choices.allowed}
    return {
        form: milliseconds(partial(steps[form], features))
        for form in LINEAR_FORMS
        if form in wanted
    }


def checked_forms(only: Sequence[str] | None) -> Sequence[str]:
    """The forms to choose from. Raises ProtocolError for an unknown one."""
    for form in only or ():
        if form not in FORMS:
            raise ProtocolError(f"{form!r} is no form of a layer; known: {', '.join(FORMS)}")
    return tuple(only) if only else FORMS
