"""Energies of filter states: Ising (redundancy and activity) and classification margin."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.ipruning.filter_layout import FilterLayout
from methods.ipruning.redundancy import Kernels, Redundancies, redundancies

BINS = 256
GRAY_RANGE = 255.0  # activity maps are binned as gray pictures
FLOOR_WEIGHT = 1e5  # per bit, times the missing kept ratio
MARGIN_WEIGHT = 10.0


@dataclass(frozen=True, slots=True)
class Interaction:
    """The matrix I of spec 1.3 as its non-zero blocks; D x D is never built unless asked for.

    size: D. blocks: per weight shape, see `Redundancies`.
    rows: (bit positions (n,), entropies (n,) float64, start, stop of the columns they fill).
    """

    size: int
    blocks: tuple[Redundancies, ...]
    rows: tuple[tuple[Tensor, Tensor, int, int], ...]

    def quadratic(self, states: Tensor) -> Tensor:
        """float64 (NS,): s' I s of each state (NS,D). Time NS * sum of n^2, memory NS * D."""
        total = states.new_zeros(states.shape[0], dtype=torch.float64)
        for block in self.blocks:
            total += block.quadratic(states)
        for bits, entropy, start, stop in self.rows:
            following = states[:, start:stop].sum(1, dtype=torch.float64)
            total += (states[:, bits].double() @ entropy) * following
        return total

    def total(self) -> Tensor:
        """float64 scalar: sum of all entries of I."""
        sums = [block.total() for block in self.blocks]
        sums += [entropy.sum() * (stop - start) for _, entropy, start, stop in self.rows]
        return torch.stack(sums).sum()

    def dense(self) -> Tensor:
        """I as a float64 (D,D) tensor: for small networks and for tests."""
        device = self.blocks[0].bits.device
        matrix = torch.zeros(self.size, self.size, dtype=torch.float64, device=device)
        for block in self.blocks:
            for positions, values in zip(block.bits, block.blocks(), strict=True):
                matrix[positions[:, None], positions[None, :]] = values
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
        redundancies(layout, weights, reading),
        activity_rows(layout, maps, levels),
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
