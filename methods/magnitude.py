"""Magnitude pruning at a fixed sparsity: one-shot, iterative, or sparse from the first step."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from methods.base import Schedule
from methods.masked import AllocationName, LayerSettings, MaskedMethod, Sparsity
from methods.masks import kept_count


class MagnitudeSettings(LayerSettings):
    """How much goes, and how the layers share it."""

    sparsity: Sparsity | None = None  # zeros / weights of the chosen layers; training needs it
    allocation: AllocationName = "global"


class Magnitude(MaskedMethod):
    """Remove the smallest |w|; layer counts by uniform, uniform+, ERK, global or LAMP.

    `prune` is one event of an iterative protocol. `attach` to a schedule with epochs prunes to
    settings.sparsity first, unless these weights are pruned already; a schedule of 0 epochs
    attaches without pruning. After every event exactly N - round(sparsity * N) weights are left.
    """

    name: ClassVar[str] = "magnitude"
    Settings = MagnitudeSettings
    settings: MagnitudeSettings

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self.adopt(model)
        if schedule.epochs == 0 or self._pruned:
            return
        if self.settings.sparsity is None:
            raise ValueError(
                f"{self.name}: no sparsity to train at; set sparsity=0.9 (share of zeros) "
                "or prune before training"
            )
        self._prune_adopted(self.settings.sparsity)

    def prune(self, model: nn.Module, sparsity: float, images: Tensor | None = None) -> None:
        """Prune to `sparsity` of the chosen layers' weights; `images` are not used.

        Weights pruned by an earlier call on the same model stay pruned.
        Raises ValueError when more than that is pruned already.
        """
        self.adopt(model)
        self._prune_adopted(sparsity)

    def _prune_adopted(self, sparsity: float) -> None:
        total = sum(mask.numel() for mask in self.masks.values())
        self.prune_to(kept_count(total, sparsity), self.settings.allocation)
