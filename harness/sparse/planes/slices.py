"""A product in slices of its input channels, each of which fits a core's fastest cache.

A block of pixels of all channels often does not, and then every weight waits for the second cache.
A slice adds to what the slices before it wrote; the last one applies the activation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.sparse.operation_graph import Convolution
from harness.sparse.planes.layout import PlaneGrid
from harness.sparse.planes.nonzeros import NonZeros
from harness.sparse.planes.steps import FLOAT, Machine, NativeStep, Operand, Product
from harness.sparse.planes.taps import Taps

CACHE = 24 << 10  # bytes of pixels: half or more of what a core's fastest cache holds
LEAST_ENTRIES = 10  # per filter and slice, for one more reading and writing of its sums
MOST_SLICES = 8
SLICED = "-sliced"


@dataclass(frozen=True)
class BlockForm:
    """How a product is cut: `cap` registers of pixels at most per block, in slices or not."""

    cap: int
    sliced: bool

    @classmethod
    def of(cls, form: str) -> BlockForm:
        """The form called "planes-CAP" or "planes-CAP-sliced"."""
        return cls(int(form.removesuffix(SLICED).removeprefix("planes-")), form.endswith(SLICED))

    def can_slice(self, conv: Convolution) -> bool:
        """Whether a layer may have several slices in this form."""
        return self.sliced and conv.weight.shape[2:] != (1, 1)

    def slices(self, conv: Convolution, grid: PlaneGrid, lanes: int) -> int:
        """How many slices a layer has: 1 where its pixels fit the cache or its weights are few.

        Those of a 1x1 layer are: a pixel meets each filter once at most.
        """
        if not self.can_slice(conv):
            return 1
        taps = Taps.of(conv)
        lines = max(taps.down) - min(taps.down)
        vectors = min(self.cap, grid.positions // lanes)
        pixels = FLOAT * (vectors * lanes + lines * grid.pitch) * conv.weight.shape[1]
        phases = len(set(taps.row_phase)) * len(set(taps.column_phase))
        most = min(MOST_SLICES, conv.nnz // (LEAST_ENTRIES * len(conv.bias)))
        return max(1, min(-(-pixels * phases // CACHE), most))


class SlicedProduct:
    """The products of a convolution, one per slice; arguments as for Product."""

    def __init__(
        self,
        conv: Convolution,
        found: NonZeros,
        offsets: Tensor,
        grid: PlaneGrid,
        planes: tuple[int, int],
        machine: Machine,
        form: BlockForm,
    ) -> None:
        count, channels = form.slices(conv, grid, machine.lanes), conv.weight.shape[1]
        number = found.channels * count // channels if count > 1 else None
        self.parts = []
        for n in range(count):
            part = replace(
                conv,
                bias=conv.bias if n == 0 else torch.zeros_like(conv.bias),
                activation=conv.activation if n == count - 1 else None,
            )
            beside = planes[1] if n == 0 else planes[0]
            inside, places = found, offsets
            if number is not None:
                inside, places = found.where(number == n), offsets[number == n]
            bytes_apart = planes[0], beside
            self.parts.append(Product(part, inside, places, grid, bytes_apart, machine, form.cap))

    def steps(self, source: Operand, out: Operand, residual: Operand | None) -> list[NativeStep]:
        """From and to these places, in order."""
        first, *others = self.parts
        return [
            first.step(source, out, residual),
            *(part.step(source, out, out) for part in others),
        ]
