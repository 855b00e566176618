"""How many weights are exactly zero, layer by layer. Integer counts first, ratios second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.results import LayerCost

if TYPE_CHECKING:
    from torch import Tensor, nn

    from methods.inventory import Outside, Weight

NEAR_ZERO = 1e-6  # a weight below this does nothing, yet is stored and multiplied by
_FILTERED = ("conv", "conv_transpose", "linear", "attention")  # kinds whose outputs are filters'


@dataclass(frozen=True, slots=True)
class SparsityProfile:
    """Counts of every weight of the inventory, and what the network has besides."""

    layers: tuple[LayerCost, ...]
    params: int  # all parameters, including biases and norms, zeros included
    outside: tuple[Outside, ...] = ()  # parameters that are no weight

    def counts(self, exclude: Iterable[str] = ()) -> tuple[int, int]:
        """(nnz, total) over layers whose name matches none of the glob patterns in `exclude`."""
        patterns = tuple(exclude)
        chosen = [x for x in self.layers if not any(fnmatchcase(x.name, p) for p in patterns)]
        return sum(x.nnz for x in chosen), sum(x.total for x in chosen)

    def sparsity(self, exclude: Iterable[str] = ()) -> float:
        """Fraction of exact zeros, 0..1; denominator: weights outside `exclude`."""
        nnz, total = self.counts(exclude)
        return 1.0 - nnz / total if total else 0.0

    @property
    def collapsed(self) -> tuple[str, ...]:
        """Names of layers with no weight left."""
        return tuple(x.name for x in self.layers if x.nnz == 0)


def sparsity(model: nn.Module) -> SparsityProfile:
    """Count exact zeros in every weight of `model`'s inventory.

    What a method added to the network (gates) is no weight of it, and counts in `params` only.
    """
    import torch

    from methods.inventory import inventory

    found = inventory(model)
    with torch.no_grad():
        pairs = [(weight.used, weight.stored) for weight in found.weights]
        rows = [_counts(w, *pair) for w, pair in zip(found.weights, pairs, strict=True)]
        counts = torch.stack(rows).tolist() if rows else []  # the device is waited for once
    layers = tuple(
        LayerCost(
            name=weight.name,
            kind=weight.kind,
            shape=tuple(used.shape),
            total=used.numel(),
            nnz=nnz,
            nnz_stored=None if used is stored else nnz_stored,
            nnz_mixed=mixed,
            near_zero=near_zero,
            dead_filters=dead if weight.kind in _FILTERED else None,
        )
        for weight, (used, stored), (nnz, nnz_stored, near_zero, dead, mixed) in zip(
            found.weights, pairs, counts, strict=True
        )
    )
    return SparsityProfile(layers, sum(p.numel() for p in model.parameters()), found.outside)


def _counts(weight: Weight, used: Tensor, stored: Tensor) -> Tensor:
    """(5,) int64: non-zero as used and as stored, near zero, dead filters, mixed places."""
    import torch

    sizes = used.abs()
    nnz = torch.count_nonzero(sizes)
    nothing = torch.zeros_like(nnz)
    near = torch.count_nonzero(sizes < NEAR_ZERO) - (sizes.numel() - nnz)
    dead = _dead_filters(weight, sizes) if weight.kind in _FILTERED else nothing
    mixed = sizes.any(0).sum() if weight.kind == "bank" else nothing
    as_stored = nnz if used is stored else torch.count_nonzero(stored)
    return torch.stack((nnz, as_stored, near, dead, mixed))


def _dead_filters(weight: Weight, sizes: Tensor) -> Tensor:
    """() int64: output channels without any weight; a transposed kernel has them second."""
    if weight.kind == "conv_transpose":
        groups = weight.owner.groups
        sizes = sizes.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return (sizes.flatten(1).amax(1) == 0).sum()
