"""Where the taps of a convolution read on planes: on the input's own, or on copies by stride."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.sparse.operation_graph import Convolution
from harness.sparse.planes.layout import PlaneGrid
from harness.sparse.planes.nonzeros import NonZeros
from harness.sparse.planes.steps import FLOAT, NativeStep, Operand, resample


@dataclass(frozen=True)
class Taps:
    """How the taps of a convolution read: tap (dy, dx) at output (h, w) reads phase
    (row_phase[dy], column_phase[dx]) of its input at (h + down[dy], w + right[dx]).

    A phase holds every stride-th pixel. Of stride 1 there is one, the input itself.
    """

    row_phase: tuple[int, ...]
    down: tuple[int, ...]
    column_phase: tuple[int, ...]
    right: tuple[int, ...]

    @classmethod
    def of(cls, conv: Convolution) -> Taps:
        spans = []
        for axis in (0, 1):
            stride, padding = conv.stride[axis], conv.padding[axis]
            places = [
                tap * conv.dilation[axis] - padding for tap in range(conv.weight.shape[2 + axis])
            ]
            spans += [tuple(p % stride for p in places), tuple(p // stride for p in places)]
        return cls(*spans)

    @property
    def reach(self) -> tuple[int, int, int, int]:
        """The farthest taps: up, down, left, right; none negative."""
        return (
            max(0, -min(self.down)), max(0, *self.down),
            max(0, -min(self.right)), max(0, *self.right),
        )  # fmt: skip


def reads_in_place(conv: Convolution, source: Sequence[int], out: Sequence[int]) -> bool:
    """Whether taps are shifts of the source's own planes: stride 1, same height and width."""
    return conv.stride == (1, 1) and tuple(source[-2:]) == tuple(out[-2:])


class Phases:
    """The phases of a convolution's input, as planes with the pitch of its output.

    Plane n * channels + c is phase `used[n]` of channel c; its first pixel is the one that the
    tap farthest up and left reads at output (0, 0).
    """

    def __init__(self, conv: Convolution, channels: int, out: PlaneGrid) -> None:
        self.taps, self.stride, self.channels, self.out = Taps.of(conv), conv.stride, channels, out
        self.up, self.below, self.left, beside = self.taps.reach
        self.lines = out.height + self.up + self.below
        self.columns = out.width + self.left + beside
        found = conv.weight.abs().amax((0, 1)).nonzero().tolist()
        pairs = {(self.taps.row_phase[y], self.taps.column_phase[x]) for y, x in found}
        self.used = sorted(pairs)
        self.grid = PlaneGrid(self.lines, out.pitch)

    @property
    def planes(self) -> int:
        return max(1, len(self.used)) * self.channels

    def offsets(self, conv: Convolution, found: NonZeros) -> Tensor:
        """Floats from the first pixel of all to what each non-zero reads at output (0, 0)."""
        channels, dy, dx = found.input_channels(conv), found.rows, found.columns
        taps, pitch = self.taps, self.grid.pitch
        numbers = torch.zeros(self.stride, dtype=torch.int64)
        for number, (row, column) in enumerate(self.used):
            numbers[row, column] = number
        row, down, column, right = (
            torch.tensor(values)
            for values in (taps.row_phase, taps.down, taps.column_phase, taps.right)
        )
        plane = numbers[row[dy], column[dx]] * self.channels + channels
        shift = (down[dy] + self.up) * pitch + right[dx] + self.left
        return plane * self.grid.plane + shift

    def steps(
        self,
        source: Operand,
        size: tuple[int, int],
        goal: Operand,
        rows: tuple[int, int],
        ready: tuple[int, int],
    ) -> list[NativeStep]:
        """Copies of every phase's pixels that output rows[0] <= h < rows[1] needs, from the goal's
        first line on; what lies beyond the image is not written.

        size: of the source, of which the lines ready[0] <= h < ready[1] lie from its pixel (0, 0)
        on, or before it.
        """
        made, first = [], max(0, rows[0] - self.up)
        for number, (row, column) in enumerate(self.used):
            lines = _count(ready[1], self.stride[0], row, rows[1] + self.below) - first
            columns = _count(size[1], self.stride[1], column, self.columns - self.left)
            if lines <= 0 or not columns:
                continue
            read = (row + self.stride[0] * first - ready[0]) * source.line + FLOAT * column
            write = number * self.channels * goal.plane + FLOAT * self.left
            write += (first - rows[0] + self.up) * goal.line
            made.append(
                resample(
                    replace(source, line=source.line * self.stride[0]),
                    goal,
                    (read, write),
                    (self.channels, lines, columns),
                    self.stride[1],
                )
            )
        return made


def _count(size: int, stride: int, phase: int, most: int) -> int:
    """How many of phase, phase + stride, ... lie below `size`, at most `most`."""
    return max(0, min(most, (size - 1 - phase) // stride + 1))


def in_place_offsets(conv: Convolution, found: NonZeros, plane: int, pitch: int) -> Tensor:
    """Floats from pixel (0, 0) of plane 0 to what each non-zero reads at output (0, 0)."""
    taps = Taps.of(conv)
    down, right = torch.tensor(taps.down)[found.rows], torch.tensor(taps.right)[found.columns]
    return found.input_channels(conv) * plane + down * pitch + right
