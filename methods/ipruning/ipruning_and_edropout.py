"""IPruning and EDropout: whole filters searched by differential evolution while training.

A population of binary states, one bit per filter and classifier input, evolves by one generation
per batch; the state of lowest energy masks the network for that batch.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from methods.base import Schedule
from methods.base import Settings as BaseSettings
from methods.data_parallel import means_over_processes
from methods.ipruning.candidate_masks import (
    CutParameters,
    MaskedParameters,
    candidate_logits,
    mean_activations,
)
from methods.ipruning.energy import (
    Interaction,
    build_interaction,
    gray_levels,
    ising_energy,
    margin_energy,
)
from methods.ipruning.filter_layout import FilterLayout, kept_coefficients
from methods.ipruning.filter_search import FilterSearch
from methods.ipruning.plain_channels import PlainChannels, arranged
from methods.ipruning.released import (
    ED06_FIRST_BATCH,
    ED06_WINDOW,
    IP_FIRST_GENERATION,
    IP_WINDOW,
    float32_gray_levels,
    has_converged,
)
from methods.ipruning.residual_channels import skeleton_of
from methods.ipruning.settings import EDropoutSettings, IPruningSettings


class IPruning(FilterSearch):
    """Ising energy: pairs of filters interact by divergence, layers by their entropy."""

    name: ClassVar[str] = "ipruning"
    Settings: ClassVar[type[BaseSettings]] = IPruningSettings

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Also prepare the kept-ratio coefficients of the penalty."""
        super().attach(model, schedule)
        self._kept = kept_coefficients(self.layout, self.population.device)

    def interaction(self, images: Tensor) -> Interaction:
        """The interaction from the current weights and one unmasked forward of `images`."""
        convs = [group.name for group in self.layout.of_kind("filters")]
        with self.batch_norm_mode():
            seen = images if self.released else arranged(self.model, images)
            own = mean_activations(self.model, convs, seen)
        maps = dict(zip(own, means_over_processes(list(own.values()), len(images)), strict=True))
        weights = dict(self.model.named_parameters())
        reading: Literal["filters", "reshaped"] = "reshaped" if self.released else "filters"
        levels = float32_gray_levels if self.released else gray_levels
        return build_interaction(self.layout, weights, maps, reading, levels)

    def costs_of(self, states: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Ising energies float64 (n,) of states (n,D); one forward pass, whatever n is."""
        return ising_energy(
            states,
            self.interaction(images),
            states.double() @ self._kept,
            keep_rate=self.settings.keep_rate,
            scrambled=self.released,
        )

    def stops(self) -> bool:
        """From early_epoch on always; before, if the best state has stood for `patience`."""
        if self.epoch >= self.settings.early_epoch:
            return True
        settled = self.generations >= IP_FIRST_GENERATION
        return settled and int(self.unchanged) >= self.settings.patience

    def stops_released(self, batch: int) -> bool:
        """As the public code, which however fails on the first batch after an epoch's end.

        Deviation: there the cost list is empty and nothing is tested.
        """
        if self.epoch >= self.settings.early_epoch:
            return True
        enough = self.generations >= IP_FIRST_GENERATION and len(self._best_costs) > 1
        return enough and has_converged(self._best_costs, IP_WINDOW)


class EDropout(FilterSearch):
    """Margin energy (EDropout, EPruning): candidates are judged by their logits on the batch."""

    name: ClassVar[str] = "edropout"
    Settings: ClassVar[type[BaseSettings]] = EDropoutSettings

    def rule(self) -> Literal["ip", "ed06"]:
        """The layout asked for, else the variant's own."""
        own: Literal["ip", "ed06"] = "ed06" if self.released else "ip"
        return self.settings.layout or own

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Also choose how candidates run: cut where that is exact and sizes cost no round trip."""
        super().attach(model, schedule)
        self._stand_ins: MaskedParameters | CutParameters | PlainChannels
        self._stand_ins = MaskedParameters(model, self.layout)
        on_host = self.population.device.type == "cpu"
        if on_host and not self.released and self.layout.rule == "ip":
            self._stand_ins = _cut(model, self.layout) or self._stand_ins

    def costs_of(self, states: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """Margin energies (n,) of states (n,D); one forward pass for each state."""
        with self.batch_norm_mode():
            logits = candidate_logits(self.model, states, self._stand_ins, images)
        return means_over_processes([margin_energy(logits, targets)], len(images))[0]

    def stops(self) -> bool:
        """From early_epoch on, once the best state has stood for `patience` generations."""
        late = self.epoch >= self.settings.early_epoch
        return late and int(self.unchanged) >= self.settings.patience

    def stops_released(self, batch: int) -> bool:
        """As the public code: any repeated best cost among the last ten, late in the run."""
        late = self.epoch >= self.settings.early_epoch and batch > ED06_FIRST_BATCH
        return late and has_converged(self._best_costs, ED06_WINDOW)


def _cut(model: nn.Module, layout: FilterLayout) -> CutParameters | PlainChannels | None:
    """How candidates run without their dead channels; None where they can only run masked.

    The output is that of the masked network but for the order of float32 sums.
    """
    try:
        return CutParameters(model, layout, skeleton_of(model))
    except ValueError:  # no ResNet
        pass
    try:
        return PlainChannels(model, layout)
    except ValueError:
        return None
