"""The running loss of an epoch, without waiting for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.system import rank, sum_over_processes


class Meter:
    """Mean loss per image of the current epoch; stays on the device until somebody looks."""

    def __init__(self, device: str) -> None:
        self._sum = torch.zeros((), device=device)
        self._images = 0

    def add(self, loss: Tensor, images: int) -> None:
        """Count a batch; loss: its mean, detached."""
        self._sum.add_(loss, alpha=images)
        self._images += images

    def reset(self) -> None:
        """Start over."""
        self._sum.zero_()
        self._images = 0

    def total(self) -> tuple[float, int]:
        """(sum of losses, images) over all processes."""
        total = sum_over_processes(torch.stack([self._sum, self._sum.new_tensor(self._images)]))
        loss, images = total.tolist()
        return loss, int(images)

    def mean(self) -> float:
        """Mean over the images of all processes."""
        loss, images = self.total()
        return loss / max(1, images)

    def restore(self, total: tuple[float, int]) -> None:
        """Inverse of total: process 0 holds the sum."""
        loss, images = total if rank() == 0 else (0.0, 0)
        self._sum.fill_(loss)
        self._images = images
