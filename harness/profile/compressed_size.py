"""Sizes of a network after the stages of Deep Compression, from its weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from harness.errors import ProtocolError
from methods.deep_compression import (
    LayerSize,
    Widths,
    percentile_masks,
    share_weights,
    size_report,
    total_size,
)

COUNT_BYTES = 4  # of the number of stored entries, which a file keeps for each matrix


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A state dict and the size of the file it came in."""

    weights: Mapping[str, Tensor]
    file_bytes: int


@dataclass(frozen=True, slots=True)
class SizeTable:
    """One row per tensor, their sum, and what one file of the shared stage takes."""

    layers: list[LayerSize]
    total: LayerSize
    stored_bytes: int | None  # shared stage and one entry count per matrix; None: not shared
    file_bytes: int


def size_table(
    given: WeightsFile, widths: Widths, sparsity: float | None = None, share: bool = False
) -> SizeTable:
    """Sizes of `given` as it is, or after stages that are applied here first.

    sparsity: this share of the non-zero weights of all matrices falls, by one threshold. share:
    k-means in every matrix, to 2**bits - 1 values. widths: bits of codes and gaps.
    Raises ProtocolError if nothing can be pruned.
    """
    weights = {name: w for name, w in given.weights.items() if w.is_floating_point()}
    matrices = {name: w for name, w in weights.items() if w.dim() > 1}
    if sparsity is not None:
        try:
            masks = percentile_masks(matrices, 100 * sparsity)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        matrices = {name: w * masks[name] for name, w in matrices.items()}
    if share:
        matrices = {
            name: share_weights(w, widths.of(name.removesuffix(".weight")))
            for name, w in matrices.items()
        }
    layers = size_report({**weights, **matrices}, widths=widths)
    total = total_size(layers)
    stored = total.shared_bytes
    if stored is not None:
        stored += COUNT_BYTES * len(matrices)
    return SizeTable(layers, total, stored, given.file_bytes)
