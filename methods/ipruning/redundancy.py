"""How much the filters of a layer tell the same: divergences between all pairs of them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.ipruning.filter_layout import FilterLayout

Kernels = Literal["filters", "reshaped"]


@dataclass(frozen=True, slots=True)
class Redundancies:
    """The redundancy blocks of spec 1.3 step 1 for L layers of one shape, before their scaling.

    bits: (L,n), where the filters' bits lie in a state. upper: (L,n,n) float64, divergences of the
    pairs j >= i and zeros. A block is the symmetric part of (upper - low) / scale. Pairs grow with
    the square of the width, and each pass over them counts, so what a quadratic form can do without
    is left to it.
    """

    bits: Tensor
    upper: Tensor
    low: Tensor
    scale: Tensor

    @classmethod
    def of(cls, bits: Tensor, kernels: Tensor) -> Redundancies:
        """Of kernels (L,n,I,k*k).

        Only pairs j >= i are filled before the scaling to their largest magnitude, so the untouched
        zeros take part in the minimum, as in the paper's code.
        """
        upper = torch.nan_to_num_(raw_divergence(kernels), 1.0, math.inf, -math.inf).triu_()
        low, high = upper.amin((-2, -1)), upper.amax((-2, -1))
        return cls(bits, upper, low, torch.maximum(high, -low))

    def quadratic(self, states: Tensor) -> Tensor:
        """float64 (NS,): b' B b over all blocks B and the bits b of each state (NS,D)."""
        part = states[:, self.bits].double().transpose(0, 1)  # (L,NS,n)
        pairs = ((part @ self.upper) * part).sum(2)
        return self._scaled(pairs, part.sum(2).square()).sum(0)

    def total(self) -> Tensor:
        """float64 scalar: sum of all entries of all blocks."""
        entries = torch.full_like(self.low, self.upper[0].numel())
        return self._scaled(self.upper.sum((1, 2))[:, None], entries[:, None]).sum()

    def blocks(self) -> Tensor:
        """(L,n,n) float64, symmetric."""
        pairs = self.upper.flatten(1)
        scaled = self._scaled(pairs, torch.ones_like(pairs)).view_as(self.upper)
        return (scaled + scaled.mT) * 0.5

    def _scaled(self, sums: Tensor, counts: Tensor) -> Tensor:
        """(L,m) sums of `counts` entries each, as they are after the scaling.

        Zero where nothing differs or something is infinite: the code replaces what is no number.
        """
        low, scale = self.low[:, None], self.scale[:, None]
        return torch.where((scale > 0) & scale.isfinite(), (sums - low * counts) / scale, 0.0)


def redundancy_block(kernels: Tensor) -> Tensor:
    """The symmetric redundancy blocks (...,O,O) float64 of kernels (...,O,I,k*k)."""
    filters = kernels.shape[-3]
    alike = kernels.reshape(-1, *kernels.shape[-3:])
    bits = torch.arange(filters, device=kernels.device).expand(len(alike), -1)
    found = Redundancies.of(bits, alike).blocks()
    return found.view(*kernels.shape[:-3], filters, filters)


@torch.no_grad()
def redundancies(
    layout: FilterLayout, weights: Mapping[str, Tensor], reading: Kernels = "filters"
) -> tuple[Redundancies, ...]:
    """Of all layers, those of one shape together.

    One by one on a CPU, where small buffers are used again and large ones are not.
    """
    by_shape: dict[tuple[int, ...], list[tuple[int, Tensor]]] = defaultdict(list)
    for group in layout.of_kind("filters"):
        weight = weights[f"{group.name}.weight"]
        alone = (group.start,) if weight.device.type == "cpu" else ()
        by_shape[(*weight.shape, *alone)].append((group.start, weight))
    return tuple(
        Redundancies.of(
            _positions([start for start, _ in members], shape[0], members[0][1].device),
            kernels_of(torch.stack([weight for _, weight in members]), reading),
        )
        for shape, members in by_shape.items()
    )


def kernels_of(weight: Tensor, reading: Kernels = "filters") -> Tensor:
    """float64 (...,n,m,k*k) samples of convolution weights (...,O,I,k,k).

    "filters": kernel o = its I slices. "reshaped": the same memory read as (I,O,k*k), which is
    what the released code does; it is right for no shape and mixes filters unless I = O.
    """
    flat = weight.detach().flatten(-2)
    if reading == "filters":
        return flat.double()
    out_channels, in_channels, area = flat.shape[-3:]
    return (
        flat.reshape(*flat.shape[:-3], in_channels, out_channels, area).transpose(-3, -2).double()
    )


def raw_divergence(kernels: Tensor) -> Tensor:
    """Gaussian KL divergence between all pairs of filters, (...,O,O), entry ij = KL of i from j.

    kernels: (...,O,I,k*k), the I slices of each filter as samples; covariances divide by I-1.
    Where I-1 < k*k every covariance is singular: its pseudo-inverse is taken in the row space
    and the determinant term is 0, as the exact determinants are. A filter whose covariance has
    no Cholesky factor otherwise (a zero filter) counts with inverse and determinant 0.
    """
    samples, area = kernels.shape[-2:]
    mean = kernels.mean(-2)
    outer = mean.unsqueeze(-1) * mean.unsqueeze(-2)
    covariance = (kernels.mT @ kernels - samples * outer) / max(samples - 1, 1)
    if samples - 1 < area:
        inverse = _row_space_inverse(kernels)
        log_det = mean.new_zeros(mean.shape[:-1])
        regular = torch.zeros_like(log_det)
    else:
        inverse, log_det, regular = _regular_inverse(covariance)
    pulled = (inverse @ mean.unsqueeze(-1)).squeeze(-1)
    # Every term is a product of something of i and something of j, so that one matrix product
    # makes all pairs. Their number grows with the square of the width: each pass over them counts.
    one = torch.ones_like(log_det)
    of_i = ((covariance + outer).flatten(-2), -2 * mean, one, -log_det * regular, regular)
    constant = (mean * pulled).sum(-1) - area
    of_j = (inverse.flatten(-2), pulled, constant, regular, log_det * regular)
    return 0.5 * _features(of_i) @ _features(of_j).mT


def _features(parts: Sequence[Tensor]) -> Tensor:
    """(...,O,F) from parts (...,O,f) and (...,O)."""
    filters = parts[0].dim() - 1
    return torch.cat([p if p.dim() > filters else p.unsqueeze(-1) for p in parts], -1)


def _positions(starts: Sequence[int], width: int, device: torch.device) -> Tensor:
    return torch.tensor(starts)[:, None].add(torch.arange(width)).to(device, non_blocking=True)


def _regular_inverse(covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse, log determinant and 1 where they exist, else 0; never waits for the device."""
    factor, info = torch.linalg.cholesky_ex(covariance)
    regular = (info == 0).to(covariance.dtype)
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    safe = torch.where(regular[..., None, None] > 0, factor, identity)
    half = torch.linalg.solve_triangular(safe, identity, upper=False)
    inverse = (half.mT @ half) * regular[..., None, None]
    log_det = 2 * safe.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return inverse, log_det, regular


def _row_space_inverse(kernels: Tensor) -> Tensor:
    """Pseudo-inverse (...,k*k,k*k) of covariances of rank samples - 1 < k*k.

    With orthonormal contrasts Y of the samples, C = Y'Y / (I-1), so that
    C^+ = (I-1) Y' (YY')^-2 Y, which needs no eigenvalues.
    """
    samples = kernels.shape[-2]
    contrast = torch.zeros(samples - 1, samples, dtype=kernels.dtype)
    for row in range(samples - 1):
        contrast[row, : row + 1] = 1.0
        contrast[row, row + 1] = -(row + 1.0)
        contrast[row] /= math.sqrt((row + 1) * (row + 2))
    spread = contrast.to(kernels.device, non_blocking=True) @ kernels
    gram_inverse, _, _ = _regular_inverse(spread @ spread.mT)
    pulled = gram_inverse @ spread
    return (samples - 1) * (pulled.mT @ pulled)
