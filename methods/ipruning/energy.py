"""Energies of filter states: Ising (redundancy and activity) and classification margin."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.ipruning.filter_layout import FilterLayout

BINS = 256
GRAY_RANGE = 255.0  # activity maps are binned as gray pictures
FLOOR_WEIGHT = 1e5  # per bit, times the missing kept ratio
MARGIN_WEIGHT = 10.0
Kernels = Literal["filters", "reshaped"]


@dataclass(frozen=True, slots=True)
class Interaction:
    """The matrix I of spec 1.3 as its non-zero blocks; D x D is never built unless asked for.

    size: D. blocks: per weight shape, (bit positions (L,n), redundancy (L,n,n) float64 as
    `redundancy_triangle` gives it: a quadratic form of bits needs no other half).
    rows: (bit positions (n,), entropies (n,) float64, start, stop of the columns they fill).
    """

    size: int
    blocks: tuple[tuple[Tensor, Tensor], ...]
    rows: tuple[tuple[Tensor, Tensor, int, int], ...]

    def quadratic(self, states: Tensor) -> Tensor:
        """float64 (NS,): s' I s of each state (NS,D). Time NS * sum of n^2, memory NS * D."""
        total = states.new_zeros(states.shape[0], dtype=torch.float64)
        for bits, block in self.blocks:
            part = states[:, bits].double().transpose(0, 1)  # (L,NS,n)
            total += ((part @ block) * part).sum((0, 2))
        for bits, entropy, start, stop in self.rows:
            following = states[:, start:stop].sum(1, dtype=torch.float64)
            total += (states[:, bits].double() @ entropy) * following
        return total

    def total(self) -> Tensor:
        """float64 scalar: sum of all entries of I."""
        sums = [block.sum() for _, block in self.blocks]
        sums += [entropy.sum() * (stop - start) for _, entropy, start, stop in self.rows]
        return torch.stack(sums).sum()

    def dense(self) -> Tensor:
        """I as a float64 (D,D) tensor: for small networks and for tests."""
        device = self.blocks[0][0].device
        matrix = torch.zeros(self.size, self.size, dtype=torch.float64, device=device)
        for bits, block in self.blocks:
            for positions, values in zip(bits, block, strict=True):
                matrix[positions[:, None], positions[None, :]] = _symmetric(values)
        for positions, entropy, start, stop in self.rows:
            matrix[positions, start:stop] = entropy[:, None]
        return matrix


def ising_energy(
    states: Tensor,
    interaction: Tensor | Interaction,
    kept: Tensor | None = None,
    *,
    keep_rate: float = 0.1,
    scrambled: bool = False,
) -> Tensor:
    """Ising energy of each state, float64 (NS,), lower is better (spec 1.3).

    states: (NS,D) zeros and ones. interaction: I, dense (D,D) or in blocks; J = I - 1.
    kept: (NS,) kept ratios; each one below `keep_rate` pays 1e5 * D per unit of shortfall.
    scrambled: read the states of the quadratic term as the released code does, by reshaping
    (NS,D) to (D,NS) instead of transposing.
    Raises ValueError if the state length and the interaction disagree.
    """
    count, size = states.shape
    known = interaction.size if isinstance(interaction, Interaction) else interaction.shape[0]
    if known != size:
        msg = f"states have {size} bits but the interaction {known}; they need one layout"
        raise ValueError(msg)
    on = states.sum(1, dtype=torch.float64)
    seen = states.reshape(size, count).t() if scrambled else states
    if isinstance(interaction, Interaction):
        coupling, total = interaction.quadratic(seen), interaction.total()
    else:
        bits, dense = seen.double(), interaction.double()
        coupling, total = ((bits @ dense) * bits).sum(1), dense.sum()
    on_seen = seen.sum(1, dtype=torch.float64)
    energy = on_seen.square() - coupling + on * (total - float(size) ** 2) / size
    if kept is not None:
        energy = energy + FLOOR_WEIGHT * size * (keep_rate - kept.double()).clamp(min=0)
    return energy


def classification_margin(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of (target logit - largest other logit); (...,B,K), (B,) -> (...,)."""
    index = targets.expand(logits.shape[:-1]).unsqueeze(-1)
    others = logits.scatter(-1, index, -math.inf).amax(-1)
    return (logits.gather(-1, index).squeeze(-1) - others).mean(-1)


def margin_energy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cost -10 * margin of each candidate, (NS,), lower is better (spec 1.4).

    logits: (NS,B,K), one row of logits per candidate and image. targets: (B,) int64.
    """
    return -MARGIN_WEIGHT * classification_margin(logits, targets)


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


def redundancy_block(kernels: Tensor) -> Tensor:
    """Redundancy block of spec 1.3 step 1 for kernels (...,O,I,k*k): symmetric (...,O,O)."""
    return _symmetric(redundancy_triangle(kernels))


def _symmetric(triangle: Tensor) -> Tensor:
    return (triangle + triangle.mT) * 0.5


def redundancy_triangle(kernels: Tensor) -> Tensor:
    """The matrix (...,O,O) whose symmetric part is the redundancy block.

    Only pairs j >= i are filled before the scaling to their largest magnitude, so the
    untouched zeros take part in the minimum, as in the paper's code.
    """
    divergence = raw_divergence(kernels)
    upper = torch.nan_to_num_(divergence, 1.0, math.inf, -math.inf).triu_()
    low, high = upper.amin((-2, -1), keepdim=True), upper.amax((-2, -1), keepdim=True)
    return upper.sub_(low).div_(torch.maximum(high, -low)).nan_to_num_(nan=0.0)


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


def gray_levels(pixels: Tensor) -> Tensor:
    """Pixels float64 (...,C,P) scaled to 0..255 over all channels of the layer."""
    low, high = pixels.amin((-2, -1), keepdim=True), pixels.amax((-2, -1), keepdim=True)
    return (pixels - low) / (high - low) * GRAY_RANGE


def gray_bins(levels: Tensor) -> Tensor:
    """int64 number of the bin [edge, next edge) of every gray level float64, the last for those
    beyond.

    What bucketize with these edges gives, in a third of its time: the quotient is off by one bin at
    most, and only beside an edge.
    """
    edges = torch.linspace(0, GRAY_RANGE, BINS + 1, dtype=torch.float64, device=levels.device)
    near = (levels * (BINS / GRAY_RANGE)).clamp_(0, BINS - 1).long()
    below, above = levels < edges[near], levels >= edges[near + 1]
    return (near - below.long() + above.long()).clamp_(0, BINS - 1)


def activity_entropy(maps: Tensor, levels: Callable[[Tensor], Tensor] = gray_levels) -> Tensor:
    """Normalised entropies float64 (...,C) of batch-averaged maps (...,C,H,W) (spec 1.3 step 2).

    Maps are scaled to 0..255 over all channels of the layer and binned per channel; bin counts
    are divided by the largest count, not by their sum. A constant layer gives zeros.
    levels: what scales the pixels; those that it puts above 255 are in no bin.
    """
    scaled = levels(maps.flatten(-2).double())
    bins = gray_bins(scaled.nan_to_num(nan=0.0))
    channels = torch.arange(bins.shape[:-1].numel(), device=maps.device)
    slots = (bins.flatten(0, -2) + BINS * channels[:, None]).flatten()
    counts = scaled.new_zeros(channels.numel() * BINS)
    counts.scatter_add_(0, slots, (~(scaled > GRAY_RANGE)).double().flatten())
    counts = counts.view(*bins.shape[:-1], BINS)
    heights = counts / counts.amax(-1, keepdim=True)
    entropy = -torch.xlogy(heights, heights).sum(-1) / math.log(2)
    return (entropy / entropy.amax(-1, keepdim=True)).nan_to_num(nan=0.0)


@torch.no_grad()
def build_interaction(
    layout: FilterLayout,
    weights: Mapping[str, Tensor],
    maps: Mapping[str, Tensor],
    reading: Kernels = "filters",
    levels: Callable[[Tensor], Tensor] = gray_levels,
) -> Interaction:
    """The interaction of spec 1.3 from weights and batch-averaged convolution outputs.

    weights: parameter name -> tensor, unmasked. maps: convolution name -> (C,H,W).
    Layers of one shape are handled as one batch, so the number of kernels launched does not
    grow with depth.
    """
    return Interaction(
        layout.size,
        redundancy_blocks(layout, weights, reading),
        activity_rows(layout, maps, levels),
    )


@torch.no_grad()
def redundancy_blocks(
    layout: FilterLayout, weights: Mapping[str, Tensor], reading: Kernels = "filters"
) -> tuple[tuple[Tensor, Tensor], ...]:
    """Bit positions (L,n) and redundancies (L,n,n) float64 of L layers of one shape each.

    L is 1 on a CPU, where small buffers are used again and large ones are not.
    """
    by_shape: dict[tuple[int, ...], list[tuple[int, Tensor]]] = defaultdict(list)
    for group in layout.of_kind("filters"):
        weight = weights[f"{group.name}.weight"]
        alone = (group.start,) if weight.device.type == "cpu" else ()
        by_shape[(*weight.shape, *alone)].append((group.start, weight))
    return tuple(
        (
            _positions([start for start, _ in members], shape[0], members[0][1].device),
            redundancy_triangle(kernels_of(torch.stack([w for _, w in members]), reading)),
        )
        for shape, members in by_shape.items()
    )


@torch.no_grad()
def activity_rows(
    layout: FilterLayout,
    maps: Mapping[str, Tensor],
    levels: Callable[[Tensor], Tensor] = gray_levels,
) -> tuple[tuple[Tensor, Tensor, int, int], ...]:
    """Per filter group: bit positions, entropies, and the columns that they fill."""
    by_shape: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for group, _ in layout.pairs:
        by_shape[tuple(maps[group.name].shape)].append(group.name)
    entropies: dict[str, Tensor] = {}
    for names in by_shape.values():
        batch = activity_entropy(torch.stack([maps[name] for name in names]), levels)
        entropies.update(zip(names, batch, strict=True))
    return tuple(
        (
            torch.arange(group.start, group.stop, device=entropies[group.name].device),
            entropies[group.name],
            after.start,
            after.stop,
        )
        for group, after in layout.pairs
    )


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
