"""Three ways to lay out the input of a convolution so that it becomes one sparse product.

direct  1x1 without padding: the input's own matrix, or its strided pixels.
rows    any kernel: one copy per kernel column, shifted sideways; the kernel's rows become choices
        of table rows, so they cost no copy, and rows beyond the border are left out.
whole   any kernel: one copy per kernel position of the zero-padded input (im2col). With stride 1
        the copies keep the padded width, which makes them shifts of one flat array; the columns
        in excess are dropped afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.sparse.activation_layout import (
    BlockGrid,
    StoredValue,
    ValueView,
    Workspace,
    empty_table,
    pieces,
)
from harness.sparse.operation_graph import Convolution
from harness.sparse.sparse_products import Entries

KINDS = ("direct", "rows", "whole")


@dataclass
class LaidOutInput:
    """A table (None: that of the input itself), the copies that fill it (in order), and the
    layout of the product's result: `grid` with `pitch` >= width columns per image row."""

    source: StoredValue
    table: Tensor | None
    grid: BlockGrid
    pitch: int
    copies: list[tuple[Tensor, ValueView | Tensor]] = field(default_factory=list)

    def fill(self) -> Tensor:
        for target, source in self.copies:
            target.copy_(source.get() if isinstance(source, ValueView) else source)
        return self.source.table if self.table is None else self.table


def fits(kind: str, conv: Convolution, source: BlockGrid, out: BlockGrid) -> bool:
    """Whether a convolution can be laid out this way."""
    if kind == "rows":
        return True
    pointwise = conv.weight.shape[2:] == (1, 1) and conv.padding == (0, 0)
    if kind == "whole":
        return not (pointwise and conv.stride == (1, 1))
    return pointwise and _strided_rows(conv, source, out) is not None


def _strided_rows(conv: Convolution, source: BlockGrid, out: BlockGrid) -> int | None:
    """Rows per block once only every stride-th row is left; None if that cannot be copied."""
    down = conv.stride[0]
    if source.rows % down or source.height // down != out.height:
        return None
    rows = source.rows // down
    return rows if out.cut(rows).nests(out.rows) else None


def geometry(kind: str, conv: Convolution, shape: tuple[int, ...]) -> tuple[object, ...]:
    """What layers have in common that share memory for their tables; shape: input (..., H, W)."""
    settings = (conv.stride, conv.padding, conv.dilation)
    return (kind, *shape[-2:], *conv.weight.shape[2:], *settings)


def entries(
    kind: str, conv: Convolution, source: BlockGrid, out: BlockGrid, workspace: Workspace
) -> Entries:
    """The sparse matrix that turns the table of `kind` into the convolution's result.

    Result rows are (block, filter), the bias is an entry on the table's row of ones. One more row
    makes the result a table itself: ones, or zeros where a residual's row of ones is still added.
    """
    filters, per_group, high, wide = conv.weight.shape
    found = conv.weight.nonzero()
    m, c, dy, dx = found.unbind(1)
    values = conv.weight[m, c, dy, dx]
    c = c + (m // (filters // conv.groups)) * per_group
    channels = _channels(kind, conv, source, workspace)
    if kind == "direct":
        blocks = torch.arange(out.blocks).view(-1, 1)
        rows, columns = blocks * filters + m, blocks * channels + c
        inside = torch.ones_like(rows, dtype=torch.bool)
        height = out.blocks * channels
    elif kind == "rows":
        blocks = torch.arange(out.height).view(-1, 1)
        line = blocks * conv.stride[0] + dy * conv.dilation[0] - conv.padding[0]
        rows, columns = blocks * filters + m, (line * wide + dx) * channels + c
        inside = (line >= 0) & (line < source.height)
        height = source.height * wide * channels
    else:
        blocks = torch.zeros(1, 1, dtype=torch.int64)
        rows, columns = m.view(1, -1), ((dy * wide + dx) * channels + c).view(1, -1)
        inside = torch.ones_like(rows, dtype=torch.bool)
        height = high * wide * channels
    biased = conv.bias.nonzero().flatten()
    last = len(blocks) * filters
    ones = torch.full((0 if conv.residual else 1,), last)
    bias_rows = (blocks * filters + biased).flatten()
    found_values = values.expand(rows.shape)[inside]
    return Entries.sorted_by_row(
        torch.cat([rows[inside], bias_rows, ones]),
        torch.cat([columns[inside], torch.full((len(bias_rows) + len(ones),), height)]),
        torch.cat([found_values, conv.bias[biased].repeat(len(blocks)), torch.ones(len(ones))]),
        (last + 1, height + 1),
    )


def prepare(
    kind: str, conv: Convolution, source: StoredValue, out: BlockGrid, workspace: Workspace
) -> LaidOutInput:
    """The table of `kind` for a stored input, and how to fill it."""
    if kind == "direct":
        return _direct(conv, source, out, workspace)
    return (_rows if kind == "rows" else _whole)(conv, source, out, workspace)


def _direct(
    conv: Convolution, source: StoredValue, out: BlockGrid, workspace: Workspace
) -> LaidOutInput:
    grid = source.grid
    if conv.stride == (1, 1) and grid.rows == out.rows:
        return LaidOutInput(source, None, out, out.width)
    down, right = conv.stride
    rows = grid.rows // down
    inner = BlockGrid(grid.channels, out.height, out.width, out.rows)
    table = workspace.get(("direct", inner), lambda: empty_table(*inner.matrix))
    strided = source.blocks().unflatten(2, (rows, down))[:, :, :, 0, ::right]
    copy = (StoredValue(inner, table).pieces(rows), ValueView(source, pieces(strided, inner.rows)))
    return LaidOutInput(source, table, out, out.width, [copy])


def _channels(kind: str, conv: Convolution, source: BlockGrid, workspace: Workspace) -> int:
    """Channels that a table has room for: those of the widest layer that shares it."""
    if kind == "direct":
        return source.channels
    key = geometry(kind, conv, (source.height, source.width))
    return max(source.channels, workspace.widest.get(key, 0))


def _rows(
    conv: Convolution, source: StoredValue, out: BlockGrid, workspace: Workspace
) -> LaidOutInput:
    grid, wide = source.grid, conv.weight.shape[3]
    right, left, apart = conv.stride[1], conv.padding[1], conv.dilation[1]
    channels = _channels("rows", conv, grid, workspace)
    key = (*geometry("rows", conv, (grid.height, grid.width)), channels)
    high = grid.height * wide * channels
    table = workspace.get(key, lambda: empty_table(high, out.width))
    shape = (grid.blocks, grid.rows, wide, channels, out.width)
    to, lines = table[:-1].view(shape)[:, :, :, : grid.channels], source.blocks().transpose(1, 2)
    down = conv.stride[0]
    if conv.weight.shape[2] == 1 and conv.padding[0] == 0 and grid.rows % down == 0:
        to, lines = to[:, ::down], lines[:, ::down]  # the other rows are never read
    copies: list[tuple[Tensor, ValueView | Tensor]] = []
    for dx in range(wide):
        shift = dx * apart - left
        low = max(0, -(shift // right))
        end = min(out.width, (grid.width - 1 - shift) // right + 1)
        if end > low:
            first, last = low * right + shift, (end - 1) * right + shift
            shifted = ValueView(source, lines[..., first : last + 1 : right])
            copies.append((to[:, :, dx, :, low:end], shifted))
    return LaidOutInput(source, table, out.cut(1), out.width, copies)


def _whole(
    conv: Convolution, source: StoredValue, out: BlockGrid, workspace: Workspace
) -> LaidOutInput:
    grid, (high, wide) = source.grid, conv.weight.shape[2:]
    (down, right), (top, left), (apart_y, apart_x) = conv.stride, conv.padding, conv.dilation
    pitch = grid.width + 2 * left
    size = (grid.height + 2 * top) * pitch + (wide - 1) * apart_x
    channels = _channels("whole", conv, grid, workspace)
    key = (*geometry("whole", conv, (grid.height, grid.width)), channels)
    padded = workspace.get((*key, "padded"), lambda: torch.zeros(channels, size))
    inner = padded.as_strided(
        (grid.channels, grid.height, grid.width), (size, pitch, 1), top * pitch + left
    )
    cut = inner.unflatten(1, (grid.blocks, grid.rows)).transpose(0, 1)
    taps = (high, wide, channels)
    steps = (apart_y * pitch, apart_x, size)
    flat = conv.stride == (1, 1)
    columns = out.height * (pitch if flat else out.width)
    shape = (*taps, columns) if flat else (*taps, out.height, out.width)
    table = workspace.get(key, lambda: empty_table(high * wide * channels, columns))
    shifted = padded.as_strided(shape, (*steps, 1) if flat else (*steps, down * pitch, right))
    copies: list[tuple[Tensor, ValueView | Tensor]] = [
        (cut, ValueView(source, source.blocks())),
        (table[:-1].view(shape)[:, :, : grid.channels], shifted[:, :, : grid.channels]),
    ]
    return LaidOutInput(source, table, out.cut(out.height), pitch if flat else out.width, copies)
