"""The weights of a layer that are not zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.sparse.operation_graph import Convolution


@dataclass(frozen=True)
class NonZeros:
    """Where non-zeros stand in a weight (filters, channels of a group, height, width), and what
    they are: (n,) each, filter after filter."""

    filters: Tensor
    channels: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of(cls, conv: Convolution) -> NonZeros:
        flat = conv.weight.reshape(-1).numpy()
        found = np.flatnonzero(flat != 0)  # three times faster than torch.nonzero
        filters, channels, rows, columns = (
            torch.from_numpy(place) for place in np.unravel_index(found, conv.weight.shape)
        )
        return cls(filters, channels, rows, columns, torch.from_numpy(flat[found]))

    def where(self, mask: Tensor) -> NonZeros:
        """Those that a mask (n,) keeps."""
        return NonZeros(
            self.filters[mask], self.channels[mask], self.rows[mask],
            self.columns[mask], self.values[mask],
        )  # fmt: skip

    def input_channels(self, conv: Convolution) -> Tensor:
        """The channel of the input that each reads, (n,)."""
        filters, per_group = conv.weight.shape[:2]
        return self.channels + (self.filters // (filters // conv.groups)) * per_group
