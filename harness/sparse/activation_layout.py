"""How activations lie in memory.

A value (C,H,W) of one image is cut into blocks of `rows` image rows; a block holds all channels:
element (c, h, w) lies at [h // rows, c, h % rows, w]. As a matrix that is (H/rows * C, rows * W):
rows = H is the usual (C, H*W), rows = 1 puts the image rows of all channels side by side. Short
matrix rows stay in the fast cache while a sparse product runs over them. One more matrix row, all
ones, ends every table: products take their bias from it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class BlockGrid:
    """The shape of a value and the number of image rows per block; `rows` divides `height`."""

    channels: int
    height: int
    width: int
    rows: int

    @property
    def blocks(self) -> int:
        return self.height // self.rows

    @property
    def matrix(self) -> tuple[int, int]:
        """Matrix rows and columns, the row of ones not counted."""
        return self.blocks * self.channels, self.rows * self.width

    @property
    def plain(self) -> bool:
        """Whether elements lie as in the usual (C,H,W)."""
        return self.rows == self.height

    def cut(self, rows: int) -> BlockGrid:
        return BlockGrid(self.channels, self.height, self.width, rows)

    def nests(self, rows: int) -> bool:
        """Whether values can be copied at once to or from a grid with `rows` rows per block."""
        big, small = max(self.rows, rows), min(self.rows, rows)
        return self.height % big == 0 and big % small == 0


class StoredValue:
    """A value; `table` is (matrix rows + 1, columns) and ends in ones.

    A fixed value keeps its memory. A fresh one is a new table each time it is computed; before
    and after that its table has a shape and no memory.
    """

    def __init__(self, grid: BlockGrid, table: Tensor | None = None) -> None:
        self.grid = grid
        self.fixed = table is not None
        high, wide = grid.matrix
        self.nothing = torch.empty(high + 1, wide, device="meta")
        self.table = self.nothing if table is None else table

    @classmethod
    def empty(cls, grid: BlockGrid) -> StoredValue:
        return cls(grid, empty_table(*grid.matrix))

    def release(self) -> None:
        """Hand the memory of a fresh value back."""
        self.table = self.nothing

    @property
    def flat(self) -> Tensor:
        """The matrix without the row of ones, a view."""
        return self.table[:-1]

    def blocks(self) -> Tensor:
        """(H/rows, C, rows, W), a view."""
        grid = self.grid
        return self.flat.view(grid.blocks, grid.channels, grid.rows, grid.width)

    def image(self) -> Tensor:
        """(1,C,H,W), a view; for plain grids."""
        return self.blocks()

    def pieces(self, other_rows: int) -> Tensor:
        """A view whose elements match those of a nesting grid with `other_rows` one by one."""
        return pieces(self.blocks(), other_rows)


class ValueView:
    """A view of a value: the same elements of whatever table it has when asked."""

    def __init__(self, stored: StoredValue, view: Tensor) -> None:
        self.stored = stored
        self.size, self.stride, self.offset = view.size(), view.stride(), view.storage_offset()
        self.kept = view if stored.fixed else None

    def get(self) -> Tensor:
        if self.kept is not None:
            return self.kept
        return self.stored.table.as_strided(self.size, self.stride, self.offset)


def pieces(blocks: Tensor, other_rows: int) -> Tensor:
    """(H/big, big/small, C, small, W), a view of `blocks` (H/rows, C, rows, W).

    big, small: the larger and the smaller of `rows` and `other_rows`, so that both layouts get the
    same shape and the same element at each place. big must be a multiple of small.
    """
    count, _, rows, _ = blocks.shape
    if rows >= other_rows:
        return blocks.unflatten(2, (rows // other_rows, other_rows)).permute(0, 2, 1, 3, 4)
    per = other_rows // rows
    return blocks.unflatten(0, (count // per, per))


def empty_table(high: int, wide: int) -> Tensor:
    """(high + 1, wide) float32 zeros with ones in the last row."""
    table = torch.zeros(high + 1, wide)
    table[high] = 1.0
    return table


@dataclass
class Workspace:
    """Memory that steps need only while they run, shared by all steps of the same kind."""

    kept: dict[Hashable, Tensor] = field(default_factory=dict)
    widest: dict[Hashable, int] = field(default_factory=dict)

    def get(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """The tensor known by `key`, made on first request; whoever writes it writes the same
        elements each time, so that the zeros and ones in between stay."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def announce(self, key: Hashable, channels: int) -> None:
        """Say that memory of this kind will be needed for so many channels."""
        self.widest[key] = max(channels, self.widest.get(key, 0))


def divisors(height: int) -> list[int]:
    return [rows for rows in range(1, height + 1) if height % rows == 0]
