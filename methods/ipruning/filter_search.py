"""What IPruning and EDropout share: a population of filter states that evolves while training.

One bit per filter and classifier input; one generation per batch; the state of lowest energy masks
the network for that batch. Under several processes energies are means over all their images, so
that every one of them selects the same states.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from methods.base import Method, Schedule
from methods.data_parallel import part_of
from methods.ipruning.candidate_masks import WornState, evaluating
from methods.ipruning.dead_channels import ShrunkResNet, shrink
from methods.ipruning.differential_evolution import draw_parents, evolve, select
from methods.ipruning.filter_layout import (
    FilterLayout,
    apply_state_,
    describe,
    pack_bits,
    unpack_bits,
)
from methods.ipruning.kept_figures import figures_of
from methods.ipruning.released import InPlaceMasks, final_state


class FilterSearch(Method, ABC):
    """Population, generations, masks, stopping, resuming and final networks of both methods."""

    structured: ClassVar[bool] = True
    final_choices: ClassVar[tuple[str, ...]] = ("network",)

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.converged = False
        self.epoch = 0
        self._best_costs: list[float] = []  # of this epoch; filled by "released" only
        self._costs: Tensor | None = None

    @property
    def released(self) -> bool:
        """Whether the public code is followed instead of the described algorithm."""
        return bool(self.settings.variant == "released")

    @property
    def live_costs(self) -> bool:
        """Whether parents are evaluated again beside their trials."""
        chosen = self.settings.live_costs
        return not self.released if chosen is None else bool(chosen)

    @property
    def batch_limit(self) -> int | None:
        """Batches the current epoch should have, None = all; asked by the training loop."""
        return None if self.converged else self.settings.batches_per_epoch

    def rule(self) -> Literal["ip", "ed06"]:
        """The layout rule in force."""
        return "ip"

    @abstractmethod
    def costs_of(self, states: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Energies float (n,) of states (n,D) on one batch."""

    @abstractmethod
    def stops(self) -> bool:
        """Whether the search is over, asked at the start of an epoch after the first."""

    @abstractmethod
    def stops_released(self, batch: int) -> bool:
        """The released stop test, asked after every generation; `batch` counts in the epoch."""

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Describe the model, draw the first population, hook the masks on."""
        self.model = model
        self.layout: FilterLayout = describe(model, self.rule())
        device = next(model.parameters()).device
        self.generator = torch.Generator(device).manual_seed(schedule.seed)
        shape = (self.settings.candidates, self.layout.size)
        draws = torch.rand(shape, generator=self.generator, device=device)
        self.population = (draws < self.settings.p_init).to(torch.uint8)
        if self.layout.always_on:
            self.population[:, -self.layout.always_on :] = 1
        self.best = self.population[0].clone()
        self.unchanged = torch.zeros((), dtype=torch.int64, device=device)
        self.generations = 0
        self._epoch_batches = 0
        self._worn = None if self.released else WornState(model, self.layout)
        self._in_place = InPlaceMasks(model, self.layout) if self.released else None

    def begin_epoch(self, epoch: int) -> None:
        """Take the evaluation mask off and decide whether the search goes on."""
        self.epoch = epoch
        self._epoch_batches = 0
        self._best_costs = []
        if self._worn is not None:
            self._worn.state = None
            self.converged = self.converged or self.stops()

    def begin_step(
        self, step: int, images: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """One generation on this batch, then the best state is worn for the forward pass.

        Raises ValueError without the batch.
        """
        if images is None or targets is None:
            msg = (
                f"method {self.name!r} evaluates its candidates on the batch, but begin_step got "
                "no images or targets; pass both from the training loop"
            )
            raise ValueError(msg)
        if self._worn is not None:
            self._worn.state = None
        if not self.converged and step % self.settings.evaluate_every == 0:
            limit = part_of(self.settings.evaluate_images)
            self._next_generation(images[:limit], targets[:limit])
            if self._in_place is not None:
                self._in_place.frozen = self.converged = self.stops_released(self._epoch_batches)
        self._epoch_batches += 1
        if self._worn is not None:
            self._worn.state = self.best
        elif self._in_place is not None:
            self._in_place.put_on(self.best)

    def after_backward(self) -> None:
        """Gradients are aligned already ("intended"), or masked as the public code does."""
        if self._in_place is not None:
            self._in_place.after_backward()

    def after_step(self) -> None:
        """The forward mask comes off; stored weights never held it ("intended")."""
        if self._worn is not None:
            self._worn.state = None

    def end_epoch(self, epoch: int) -> None:
        """Evaluation sees the pruned network.

        "intended" wears the mask until the next epoch; "released" destroys the masked weights.
        """
        if self._worn is not None:
            self._worn.state = self.best
        else:
            apply_state_(self.model, self.layout, self.best)

    def state_dict(self) -> dict[str, Any]:
        """Population and best state as packed bits, the layout as JSON, and the counters.

        The stop rules count generations, batches and costs of the current epoch: a run that goes
        on inside one has to know them.
        """
        return {
            "layout": self.layout.to_json(),
            "population": pack_bits(self.population).cpu(),
            "best": pack_bits(self.best).cpu(),
            "costs": None if self._costs is None else self._costs.cpu(),
            "unchanged": self.unchanged.cpu(),
            "generations": self.generations,
            "converged": self.converged,
            "within_epoch": {
                "epoch": self.epoch,
                "batches": self._epoch_batches,
                "best_costs": list(self._best_costs),
                "worn": self._worn is not None and self._worn.state is not None,
            },
            "generator": self.generator.get_state(),
            "backup": {} if self._in_place is None else self._in_place.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of state_dict. Raises ValueError if the stored layout is another one."""
        if FilterLayout.from_json(state["layout"]) != self.layout:
            msg = (
                f"the stored {self.name} state has another layout than {type(self.model).__name__}"
                " has now; resume with the model and settings of the stored run"
            )
            raise ValueError(msg)
        device = self.population.device
        self.population = unpack_bits(state["population"], self.layout.size).to(device)
        self.best = unpack_bits(state["best"], self.layout.size).to(device)
        self._costs = None if state["costs"] is None else state["costs"].to(device)
        self.unchanged = state["unchanged"].to(device)
        self.generations = int(state["generations"])
        self.converged = bool(state["converged"])
        if "within_epoch" in state:  # runs that finished before it was kept need none
            self._load_within_epoch(state["within_epoch"])
        self.generator.set_state(state["generator"])
        if self._in_place is not None:
            self._in_place.frozen = self.converged
            self._in_place.load_state_dict(state["backup"])

    def _load_within_epoch(self, state: Mapping[str, Any]) -> None:
        self.epoch = int(state["epoch"])
        self._epoch_batches = int(state["batches"])
        self._best_costs = [float(cost) for cost in state["best_costs"]]
        if self._worn is not None:
            self._worn.state = self.best if state["worn"] else None

    def final_state(self) -> Tensor:
        """The state (D,) of network (P)."""
        classes = self.layout.groups[-1].parameters[0].shape[0]
        return final_state(self.best, classes) if self.released else self.best

    def finalize(self, model: nn.Module) -> nn.Module:
        """`model` itself, without hooks: network (P), zeros in place, or (F), as `network` says."""
        if self._worn is not None:
            self._worn.remove()
            self._worn = None
        if self.settings.network == "pruned":
            apply_state_(model, self.layout, self.final_state())
        return model

    def figures(self, model: nn.Module, batches: Iterable[Tensor]) -> dict[str, float | Tensor]:
        """Kept ratio R and what is left when dead channels go; see `figures_of`.

        Of the batches only the size of the pictures matters.
        """
        images = next(iter(batches))
        state = self.final_state()
        if self.settings.network == "full":
            state = torch.ones_like(state)
        height, width = images.shape[2:]
        return {**figures_of(model, self.layout, state, (height, width))}

    def full_network(self, model: nn.Module) -> nn.Module:
        """Network (F): a copy of `model` with all filters on, without hooks. Before finalize."""
        worn, self._worn = self._worn, None
        if worn is not None:
            worn.remove()
        full = copy.deepcopy(model)
        self._worn = None if worn is None else WornState(model, self.layout)
        return full

    def shrunk_network(self, model: nn.Module) -> ShrunkResNet:
        """Network (P) with its dead channels removed; `model` before or after finalize.

        Raises ValueError where the channels cannot be removed exactly; see `shrink`.
        """
        return shrink(model, self.layout, self.final_state())

    def timed(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Network (P), which costs what the dense one does, and (P) without its dead channels.

        Nothing where they cannot be removed exactly; see `shrink`.
        """
        if self.settings.network == "full":
            return {}
        try:
            return {"dense": model, "shrunk": self.shrunk_network(model)}
        except ValueError:
            return {}

    @torch.no_grad()
    def _next_generation(self, images: Tensor, targets: Tensor) -> None:
        population, device = self.population, self.population.device
        parents = draw_parents(len(population), self.generator, device)
        draws = torch.rand((2, *population.shape), generator=self.generator, device=device)
        trial = evolve(population, parents, draws[0], draws[1], self.layout.always_on)
        if self.live_costs or self._costs is None:
            both = torch.cat([population, trial])
            old_costs, trial_costs = self.costs_of(both, images, targets).chunk(2)
        else:
            old_costs, trial_costs = self._costs, self.costs_of(trial, images, targets)
        self.population, self._costs, index = select(population, trial, old_costs, trial_costs)
        best = self.population.index_select(0, index[None]).squeeze(0)
        self.unchanged = torch.where((best == self.best).all(), self.unchanged + 1, 0)
        self.best = best
        self.generations += 1
        if self.released:  # a reference, not meant to be fast: its stop rule reads every cost
            self._best_costs.append(float(self._costs.amin()))

    def batch_norm_mode(self) -> AbstractContextManager[None]:
        return nullcontext() if self.released else evaluating(self.model)
