"""Binary differential evolution over filter states: parents, trials, selection."""

from __future__ import annotations

import torch
from torch import Tensor

MUTATION_THRESHOLD = 0.9  # a gene mutates where its draw is above: 10 % of them
CROSSOVER_RATE = 0.9


def evolve(
    population: Tensor,
    parents: Tensor,
    mutation_draws: Tensor,
    crossover_draws: Tensor,
    always_on: int = 0,
) -> Tensor:
    """Trial population (NS,D) of one binary differential-evolution generation (spec 1.2).

    population: (NS,D) zeros and ones. parents: (NS,3) slot indices a, b, c. Both draws: (NS,D)
    in [0,1). A mutating gene is the opposite of a's where b and c agree and 0 where they do not.
    always_on: trailing bits forced to 1.
    """
    first, second, third = (population[parents[:, place]] for place in range(3))
    flipped = (first == 0).to(population.dtype)
    mutated = torch.where(second == third, flipped, torch.zeros_like(flipped))
    mutant = torch.where(mutation_draws > MUTATION_THRESHOLD, mutated, first)
    trial = torch.where(crossover_draws < CROSSOVER_RATE, mutant, population)
    if always_on:
        trial[:, -always_on:] = 1
    return trial


def draw_parents(candidates: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """(NS,3) int64: for each slot three different other slots, uniformly, without host work."""
    order = torch.rand(candidates, candidates, generator=generator, device=device)
    order.fill_diagonal_(2.0)  # above every draw: never itself
    return order.argsort(dim=1)[:, :3]


def select(
    population: Tensor, trial: Tensor, costs: Tensor, trial_costs: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(population, costs, index of the best): per slot the cheaper state, the old one on ties.

    The best is the first slot of lowest cost, a 0-dimensional int64 tensor.
    """
    keep = costs <= trial_costs
    chosen = torch.where(keep[:, None], population, trial)
    kept_costs = torch.where(keep, costs, trial_costs)
    return chosen, kept_costs, kept_costs.argmin()
