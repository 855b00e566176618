"""From elsewhere: a pruning method (of every `period` weights one stays), a network, a data set."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from harness.registry import registered
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


class StripesNet(nn.Module):
    """The smallest network that sees the direction of a stripe."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 8, 3, padding=1)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).relu().mean((2, 3)))


class Stripes(torch.utils.data.Dataset):
    """Rows or columns of a 12 x 12 picture, light and dark in turns, from a random place on."""

    def __init__(self, count: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        waves = (np.arange(12) + rng.integers(0, 4, (count, 1))) // 2 % 2 * 200
        noise = rng.integers(0, 56, (count, 12, 12))
        self.labels = np.arange(count) % 2
        rows, columns = waves[:, :, None], waves[:, None, :]
        self.pictures = (np.where(self.labels[:, None, None], rows, columns) + noise).astype("u1")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return self.pictures[i], int(self.labels[i])


@registered(
    name="stripes",
    title="Stripes",
    classes=2,
    channels=1,
    side=12,
    images={"train": 128, "test": 64},
    page="https://example.org/stripes",
)
def stripes() -> object:
    from harness.data import InMemory

    return InMemory(lambda split: Stripes(128, 0) if split == "train" else Stripes(64, 1))
