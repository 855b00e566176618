"""IMP: iterative magnitude pruning with rewinding, the lottery ticket (arXiv 1803.03635)."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from methods.base import Schedule
from methods.inventory import inventory
from methods.layerwise import drop_smallest
from methods.masked import LayerSettings, MaskedMethod
from methods.masks import kept_count


class IMPSettings(LayerSettings):
    """What goes in a round besides the recipe's amount, and where training starts again.

    rates: layer pattern -> share of its remaining weights that goes per round, instead of the
    recipe's amount; the paper takes 0.1 for an output layer. For layerwise allocation only.
    allocation: "layerwise" = every layer loses the same share (the paper for fully connected
    networks), "global" = the smallest of all layers together.
    rewind: back to the weights before the first training after every pruning; False = go on from
    the trained ones.
    """

    rates: dict[str, float] = Field(default_factory=dict)
    allocation: Literal["layerwise", "global"] = "layerwise"
    rewind: bool = True


class IMP(MaskedMethod):
    """Train, remove the smallest |w|, put the rest back to their first values, train again."""

    name: ClassVar[str] = "imp"
    Settings = IMPSettings
    settings: IMPSettings

    def __init__(self, settings: IMPSettings) -> None:
        super().__init__(settings)
        self._first: dict[str, Tensor] = {}  # the network before any training
        self._sparsity = 0.0  # target of the round before

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Remember the weights. Raises ValueError for a run without rounds, or unknown layers."""
        if schedule.epochs:
            raise ValueError(
                "imp prunes in rounds; use bench prune --method imp --rounds N, or a recipe with "
                "prune rounds"
            )
        self.adopt(model)
        inventory(model).select(include=tuple(self.settings.rates))  # refuses patterns of no layer
        if self.settings.rates and self.settings.allocation == "global":
            raise ValueError("rates are of layers; drop them or use allocation=layerwise")
        self._first = {name: value.clone() for name, value in model.state_dict().items()}

    def prune(self, model: nn.Module, sparsity: float, images: Tensor | None = None) -> None:
        """One round: to `sparsity` where no rate of its own is set, then rewind; no images used.

        Raises ValueError when more than that is pruned already.
        """
        self.adopt(model)
        if self.settings.allocation == "global":
            total = sum(mask.numel() for mask in self.masks.values())
            self.prune_to(kept_count(total, sparsity), "global")
        else:
            rate = 1 - (1 - sparsity) / (1 - self._sparsity)
            self.set_masks(
                {
                    name: drop_smallest(self.weights[name], mask, self._rate(name, rate))
                    for name, mask in self.masks.items()
                }
            )
        self._sparsity = sparsity
        if self.settings.rewind:
            model.load_state_dict(self._first)
            self.set_masks(self.masks)

    def _rate(self, layer: str, usual: float) -> float:
        own = [r for pattern, r in self.settings.rates.items() if fnmatchcase(layer, pattern)]
        return own[0] if own else usual

    def state_dict(self) -> dict[str, Any]:
        """Masks, the first weights, and how far the rounds are."""
        return {**super().state_dict(), "first": self._first, "sparsity": self._sparsity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        device = next(iter(self.weights.values())).device
        self._first = {name: torch.as_tensor(v).to(device) for name, v in state["first"].items()}
        self._sparsity = float(state["sparsity"])
