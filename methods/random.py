"""Random pruning: the control every score has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from methods.base import Schedule
from methods.magnitude import Magnitude, MagnitudeSettings
from methods.masked import AllocationName


class RandomSettings(MagnitudeSettings):
    """As magnitude; by default every layer loses the same share."""

    allocation: AllocationName = "uniform"


class Random(Magnitude):
    """Remove weights at random, as many per layer as the allocation says.

    Draws come from the run's seed on the CPU, so they do not depend on the device. An
    allocation that looks at weights (global, lamp) still does: it fixes the layer counts.
    """

    name: ClassVar[str] = "random"
    Settings = RandomSettings
    settings: RandomSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._generator = torch.Generator().manual_seed(0)

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self._generator.manual_seed(schedule.seed)
        super().attach(model, schedule)

    def scores(self) -> dict[str, Tensor]:
        """Layer name -> one uniform draw per live weight, -1 where masked."""
        return {
            name: torch.rand(mask.shape, generator=self._generator)
            .to(mask.device)
            .masked_fill_(~mask, -1.0)
            for name, mask in self.masks.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The masks and the generator's state."""
        return {**super().state_dict(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._generator.set_state(state["generator"].cpu())
