"""How many weights are exactly zero, layer by layer. Integer counts first, ratios second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class LayerSparsity:
    """One Conv2d or Linear: counts of the weight actually used (after masks and thresholds)."""

    name: str
    kind: str  # conv | linear
    shape: tuple[int, ...]
    total: int
    nnz: int  # weights that are not exactly 0.0; 1e-30 is not zero

    @property
    def density(self) -> float:
        return self.nnz / self.total


@dataclass(frozen=True, slots=True)
class SparsityProfile:
    """Per-layer counts over all conv and linear weights, unless layers are excluded."""

    layers: tuple[LayerSparsity, ...]
    params: int  # all parameters, including biases and norms, zeros included

    def counts(self, exclude: Iterable[str] = ()) -> tuple[int, int]:
        """(nnz, total) over layers whose name matches none of the glob patterns in `exclude`."""
        patterns = tuple(exclude)
        chosen = [x for x in self.layers if not any(fnmatchcase(x.name, p) for p in patterns)]
        return sum(x.nnz for x in chosen), sum(x.total for x in chosen)

    def sparsity(self, exclude: Iterable[str] = ()) -> float:
        """Fraction of exact zeros, 0..1; denominator: conv+linear weights outside `exclude`."""
        nnz, total = self.counts(exclude)
        return 1.0 - nnz / total if total else 0.0

    @property
    def collapsed(self) -> tuple[str, ...]:
        """Names of layers with no weight left."""
        return tuple(x.name for x in self.layers if x.nnz == 0)


def sparsity(model: nn.Module) -> SparsityProfile:
    """Count exact zeros in every Conv2d and Linear weight of `model`.

    What a method added to the network (gates) is no weight of it, and counts in `params` only.
    """
    import torch
    from torch import nn

    from methods.additions import own_modules

    with torch.no_grad():
        found = [
            (name, module, module.weight)
            for name, module in own_modules(model)
            if isinstance(module, nn.Conv2d | nn.Linear)
        ]
        nnz = [torch.count_nonzero(weight) for _, _, weight in found]
        counts = torch.stack(nnz).tolist() if nnz else []
    layers = tuple(
        LayerSparsity(
            name=name,
            kind="conv" if isinstance(module, nn.Conv2d) else "linear",
            shape=tuple(weight.shape),
            total=weight.numel(),
            nnz=int(count),
        )
        for (name, module, weight), count in zip(found, counts, strict=True)
    )
    return SparsityProfile(layers, params=sum(p.numel() for p in model.parameters()))
