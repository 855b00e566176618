"""Steps of a compiled network: each reads and writes stored values, and takes no arguments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.sparse.activation_layout import BlockGrid, StoredValue, ValueView, Workspace, pieces
from harness.sparse.operation_graph import (
    Activation,
    Affine,
    Convolution,
    Linear,
    MaxPool,
    Pointwise,
)
from harness.sparse.sparse_products import BagProduct, CsrProduct, Entries, csr_matrix
from harness.sparse.tables import LaidOutInput

RELU = Activation()
# One pass over the memory instead of two; not among PyTorch's documented functions.
_ADD_RELU = getattr(torch.ops.aten, "_add_relu_", None)


def add_relu_(values: Tensor, others: Tensor) -> None:
    """relu(values + others) in place."""
    if _ADD_RELU is None:
        values.add_(others).relu_()
    else:
        _ADD_RELU.Tensor(values, others)


def clamp_into(values: Tensor, activation: Activation | None, out: Tensor) -> None:
    """Write clamp(values) to `out`; without activation a copy."""
    if activation is None:
        out.copy_(values)
    elif activation.high == float("inf"):
        torch.clamp_min(values, activation.low, out=out)
    else:
        torch.clamp(values, activation.low, activation.high, out=out)


def clamp_(values: Tensor, activation: Activation | None) -> None:
    """Clamp in place."""
    if activation is None:
        return
    if activation == RELU:
        values.relu_()
    else:
        values.clamp_(activation.low, activation.high)


class Finish:
    """Adds the residual to a result, clamps it, and copies it into a fixed value's layout.

    The result lies like `grid`, with `pitch` columns per image row.
    """

    def __init__(
        self,
        grid: BlockGrid,
        pitch: int,
        out: StoredValue,
        activation: Activation | None,
        residual: StoredValue | None,
    ) -> None:
        self.activation = activation
        shape = (grid.blocks, grid.channels, grid.rows, pitch)
        view = pieces(torch.empty(shape, device="meta")[..., : grid.width], out.grid.rows)
        self.size, self.stride = view.size(), view.stride()
        self.out = out.pieces(grid.rows)
        self.residual: ValueView | None = None
        if residual is not None:
            self.residual = ValueView(residual, residual.pieces(grid.rows))

    def __call__(self, result: Tensor) -> None:
        result = result.as_strided(self.size, self.stride)
        if self.residual is not None:
            result.add_(self.residual.get())
        clamp_into(result, self.activation, self.out)


class Keep:
    """Adds the residual to a table and clamps it, both in place; it is the fresh value then."""

    def __init__(
        self, out: StoredValue, activation: Activation | None, residual: StoredValue | None
    ) -> None:
        self.out, self.activation, self.residual = out, activation, residual

    def __call__(self, result: Tensor) -> None:
        if self.residual is None:
            clamp_(result, self.activation)
        elif self.activation == RELU:
            add_relu_(result, self.residual.table)
        else:
            clamp_(result.add_(self.residual.table), self.activation)
        self.out.table = result


@dataclass
class SparseConvolution:
    """Fill the table, multiply, finish."""

    prepared: LaidOutInput
    product: BagProduct | CsrProduct
    finish: Finish | Keep

    def __call__(self) -> None:
        self.finish(self.product(self.prepared.fill()))


class DenseConvolution:
    """PyTorch's own convolution, on the plain layout or on channels last."""

    def __init__(
        self,
        conv: Convolution,
        source: StoredValue,
        out: StoredValue,
        residual: StoredValue | None,
        workspace: Workspace,
        memory_format: torch.memory_format,
    ) -> None:
        self.format = memory_format
        self.weight = conv.weight.contiguous(memory_format=memory_format)
        self.bias = conv.bias
        self.settings = (conv.stride, conv.padding, conv.dilation, conv.groups)
        self.image, self.copy = plain_image(source, workspace)
        self.finish = Finish(
            out.grid.cut(out.grid.height), out.grid.width, out, conv.activation, residual
        )

    def __call__(self) -> None:
        if self.copy is not None:
            self.copy()
        image = self.image.get().contiguous(memory_format=self.format)
        result = F.conv2d(image, self.weight, self.bias, *self.settings)
        self.finish(result.contiguous().view(result.shape[1], -1))


class CopyStep:
    """Copies a value into another layout."""

    def __init__(self, source: StoredValue, out: StoredValue) -> None:
        self.source = ValueView(source, source.pieces(out.grid.rows))
        self.out = out.pieces(source.grid.rows)

    def __call__(self) -> None:
        self.out.copy_(self.source.get())


def plain_image(source: StoredValue, workspace: Workspace) -> tuple[ValueView, CopyStep | None]:
    """The value as (1,C,H,W), and the copy that must run first unless it lies so already."""
    if source.grid.plain:
        return ValueView(source, source.image()), None
    plain = stored_scratch(source.grid.cut(source.grid.height), workspace)
    return ValueView(plain, plain.image()), CopyStep(source, plain)


def stored_scratch(grid: BlockGrid, workspace: Workspace) -> StoredValue:
    """A place for a value that lives only within one step."""
    table = workspace.get(("scratch", grid.matrix), lambda: StoredValue.empty(grid).table)
    return StoredValue(grid, table)


class SparseLinear:
    """features (..., K) @ weight.T + bias by a sparse product, for one row with a vector."""

    def __init__(self, linear: Linear) -> None:
        self.matrix = csr_matrix(Entries.of_matrix(linear.weight))
        self.bias, self.finish = linear.bias, linear.finish

    def __call__(self, features: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.finish(self._product(features), residual)

    def _product(self, features: Tensor) -> Tensor:
        shape = (*features.shape[:-1], len(self.bias))
        if features.numel() == features.shape[-1]:
            return torch.addmv(self.bias, self.matrix, features.reshape(-1)).view(shape)
        rows = features.reshape(-1, features.shape[-1])
        return torch.addmm(self.bias.unsqueeze(1), self.matrix, rows.t()).t().reshape(shape)


class DenseLinear:
    """weight @ x + bias by PyTorch's own product."""

    def __init__(self, linear: Linear) -> None:
        self.weight, self.bias, self.finish = linear.weight, linear.bias, linear.finish

    def __call__(self, features: Tensor, residual: Tensor | None = None) -> Tensor:
        return self.finish(F.linear(features, self.weight, self.bias), residual)


class PoolStep:
    """Maximum over windows: first over rows, then over columns, then the clamp."""

    def __init__(
        self, pool: MaxPool, source: StoredValue, out: StoredValue, workspace: Workspace
    ) -> None:
        grid, goal = source.grid, out.grid
        self.copy: CopyStep | None = None
        if grid.rows not in (1, grid.height):
            by_row = stored_scratch(grid.cut(1), workspace)
            self.copy, source = CopyStep(source, by_row), by_row
        lines = image_rows(source)
        narrow = torch.empty(goal.height, grid.channels, grid.width)
        both = torch.empty(goal.height, goal.channels, goal.width)
        offsets = [offset - pool.padding for offset in range(pool.kernel)]
        self.over_rows = [
            (ValueView(source, left) if left.is_meta else left, ValueView(source, right), out)
            for left, right, out in _maxima([(lines, o) for o in offsets], narrow, 0, pool.stride)
        ]
        if pool.split:  # column 2w + o is column w + o // 2 of the even or the odd ones
            halves = narrow.chunk(2, 1)
            columns, stride = [(halves[o % 2], o // 2) for o in offsets], 1
        else:
            columns, stride = [(narrow, o) for o in offsets], pool.stride
        self.over_columns = _maxima(columns, both, 2, stride)
        by_block = both.unflatten(0, (goal.blocks, goal.rows)).transpose(1, 2)
        self.result, self.out, self.activation = by_block, out.blocks(), pool.activation

    def __call__(self) -> None:
        if self.copy is not None:
            self.copy()
        for left, right, out in self.over_rows:
            first = left.get() if isinstance(left, ValueView) else left
            torch.maximum(first, right.get(), out=out)
        for maximum in self.over_columns:
            torch.maximum(maximum[0], maximum[1], out=maximum[2])
        clamp_into(self.result, self.activation, self.out)


def image_rows(source: StoredValue) -> Tensor:
    """(H,C,W), a view; for grids of one row per block and for plain ones."""
    grid = source.grid
    if grid.rows == 1:
        return source.flat.view(grid.height, grid.channels, grid.width)
    return source.flat.view(grid.channels, grid.height, grid.width).transpose(0, 1)


def _maxima(
    windows: list[tuple[Tensor, int]], out: Tensor, dim: int, stride: int
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(left, right, out) of the maxima to take in order, so that out[i] along `dim` becomes the
    largest source[i * stride + shift] over the (source, shift) in `windows` that lie inside."""
    goal = out.shape[dim]
    spans = []
    for source, shift in windows:
        low = max(0, -(shift // stride))
        end = min(goal, (source.shape[dim] - 1 - shift) // stride + 1)
        first, last = low * stride + shift, (end - 1) * stride + shift
        if end > low:
            index = (slice(None),) * dim + (slice(first, last + 1, stride),)
            spans.append((low, end, source[index]))
    full = [view for low, end, view in spans if (low, end) == (0, goal)]
    steps = [(full[0], full[-1], out)]
    for low, end, view in spans:
        if not any(view is taken for taken in (full[0], full[-1])):
            part = out.narrow(dim, low, end - low)
            steps.append((part, view, part))
    return steps


class MeanStep:
    """Mean over height and width."""

    def __init__(self, source: StoredValue, out: StoredValue) -> None:
        self.source, self.out = ValueView(source, source.blocks()), out.image()

    def __call__(self) -> None:
        torch.mean(self.source.get(), (0, 2, 3), keepdim=True, out=self.out)


class PointwiseStep:
    """A function of every element, in whatever layout."""

    def __init__(self, pointwise: Pointwise, source: StoredValue, out: StoredValue) -> None:
        self.function, self.source, self.out = pointwise.function, source, out.flat

    def __call__(self) -> None:
        self.out.copy_(self.function(self.source.flat))


class AffineStep:
    """clamp(x * scale + shift) per channel."""

    def __init__(self, affine: Affine, source: StoredValue, out: StoredValue) -> None:
        self.source, self.out = ValueView(source, source.blocks()), out.blocks()
        self.activation = affine.activation
        self.scale = affine.scale.float().view(1, -1, 1, 1)
        self.shift = affine.shift.float().view(1, -1, 1, 1)

    def __call__(self) -> None:
        torch.addcmul(self.shift, self.source.get(), self.scale, out=self.out)
        clamp_(self.out, self.activation)


class AddStep:
    """clamp(left + right) of two values in one layout."""

    def __init__(
        self, left: StoredValue, right: StoredValue, out: StoredValue, activation: Activation | None
    ) -> None:
        self.left, self.right, self.out, self.activation = left, right, out.flat, activation

    def __call__(self) -> None:
        torch.add(self.left.flat, self.right.flat, out=self.out)
        clamp_(self.out, self.activation)


class JoinStep:
    """Values of one layout, joined along the channels."""

    def __init__(self, sources: list[StoredValue], out: StoredValue) -> None:
        self.sources = [ValueView(source, source.blocks()) for source in sources]
        self.out = out.blocks()

    def __call__(self) -> None:
        torch.cat([source.get() for source in self.sources], 1, out=self.out)
