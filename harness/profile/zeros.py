"""How many weights are exactly zero, layer by layer. Integer counts first, ratios second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from methods.inventory import Outside


@dataclass(frozen=True, slots=True)
class LayerSparsity:
    """One weight: counts of what activations are multiplied by (after masks, standardisation)."""

    name: str
    kind: str  # conv | conv_transpose | linear | attention | recurrent | bank
    shape: tuple[int, ...]
    total: int
    nnz: int  # weights that are not exactly 0.0; 1e-30 is not zero
    nnz_stored: int | None = None  # of the tensor it is worked out from; None: it is the same one
    nnz_mixed: int = 0  # places of a bank at which any of its kernels has a weight

    @property
    def density(self) -> float:
        return self.nnz / self.total


@dataclass(frozen=True, slots=True)
class SparsityProfile:
    """Counts of every weight of the inventory, and what the network has besides."""

    layers: tuple[LayerSparsity, ...]
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
        distinct = {id(tensor): tensor for pair in pairs for tensor in pair}
        nnz = [torch.count_nonzero(tensor) for tensor in distinct.values()]
        counts = dict(zip(distinct, torch.stack(nnz).tolist() if nnz else [], strict=True))
    layers = tuple(
        LayerSparsity(
            name=weight.name,
            kind=weight.kind,
            shape=tuple(used.shape),
            total=used.numel(),
            nnz=counts[id(used)],
            nnz_stored=None if used is stored else counts[id(stored)],
            nnz_mixed=int((used != 0).any(0).sum()) if weight.kind == "bank" else 0,
        )
        for weight, (used, stored) in zip(found.weights, pairs, strict=True)
    )
    return SparsityProfile(layers, sum(p.numel() for p in model.parameters()), found.outside)
