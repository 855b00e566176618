"""A pruning method from elsewhere: of every `period` weights of a layer, in order, one stays."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.base import Schedule
from methods.masked import LayerSettings, MaskedMethod


class CheckerboardSettings(LayerSettings):
    """period 2 keeps half of the weights, the first one always."""

    period: int = Field(default=2, ge=2)


class Checkerboard(MaskedMethod):
    """Sparse from the first step on; neither magnitude nor data matter."""

    name = "checkerboard"
    Settings = CheckerboardSettings

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Mask every chosen layer."""
        self.adopt(model)
        self.set_masks({name: self._pattern(weight) for name, weight in self.weights.items()})

    def _pattern(self, weight: Tensor) -> Tensor:
        positions = torch.arange(weight.numel(), device=weight.device)
        return (positions % self.settings.period == 0).view(weight.shape)
