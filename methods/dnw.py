"""DNW: discovering neural wirings (arXiv 1906.00586), as a fixed-sparsity training method."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from methods.base import Schedule
from methods.budgets import BudgetSettings, BudgetValues, targets, truncated_count
from methods.parametrized import KeepLargest, ParametrizedMethod


class DNW(ParametrizedMethod):
    """Use only the largest weights of each layer, but let the gradient reach all of them.

    The mask follows the stored weights at every forward pass, from the first step on: pruned
    weights keep learning and can return. Each layer zeroes exactly int(rate * numel) weights
    (truncation, as in both published codes) or keeps exactly its count from the budget.
    """

    name: ClassVar[str] = "dnw"
    Settings = BudgetSettings
    settings: BudgetSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._targets: BudgetValues = {}

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self._targets = targets(model, self.settings)
        super().attach(model, schedule)

    def rule(self, name: str, weight: Tensor) -> KeepLargest:
        """Keep the layer's target count, gradient straight through."""
        kept = truncated_count(self._targets[name], weight.numel())
        return KeepLargest(kept, straight_through=True)
