"""Base of the methods that zero stored weights: masks multiplied in place around each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from methods.allocation import ALLOCATIONS, Counts, exact, magnitude, survivors
from methods.base import Method, Schedule, Settings
from methods.inventory import Weight, inventory, over_parameters
from methods.masks import Masks, keep_largest, multipliers, pack, unpack

AllocationName = Literal["uniform", "uniform_plus", "erk", "global", "lamp"]


def _fraction(value: float) -> float:
    if not 0.0 <= value < 1.0:
        raise ValueError(
            f"sparsity {value} is not a fraction below 1; give the share of zeros, such as 0.9"
        )
    return value


Sparsity = Annotated[float, AfterValidator(_fraction)]  # share of zeros in the chosen weights


class LayerSettings(Settings):
    """Which weights a method works on: shell globs over the names in the inventory."""

    include: tuple[str, ...] = ()  # empty = all
    exclude: tuple[str, ...] = ()


def chosen_weights(model: nn.Module, settings: LayerSettings) -> dict[str, Weight]:
    """The weights `settings` selects, in registration order: name -> weight.

    Raises ValueError when a pattern matches nothing or nothing is left.
    """
    weights = inventory(model).select(settings.include, settings.exclude)
    if not weights:
        raise ValueError(
            f"no layer left to prune: include={list(settings.include)} and "
            f"exclude={list(settings.exclude)} leave none of the model's weights"
        )
    return weights


class MaskedMethod(Method):
    """A method that keeps the pruned entries of the stored weights at zero.

    Subclasses decide when masks change and call `prune_to` or `set_masks`; then gradients are
    masked after the backward pass and weights after the optimizer step. Layers without a pruned
    weight cost nothing. Masks change rarely; only then does anything wait for the device.
    """

    settings: LayerSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.masks: Masks = {}
        self.chosen: dict[str, Weight] = {}
        self._pruned: list[Tensor] = []  # those with a zero in their mask
        self._multipliers: list[Tensor] = []  # their masks as 0/1 floats

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self.adopt(model)

    def maskable(self, model: nn.Module) -> dict[str, Weight]:
        """What masks are for: name -> weight. Default: the weights that the settings choose."""
        return chosen_weights(model, self.settings)

    def adopt(self, model: nn.Module) -> None:
        """Take over the model's weights with all-True masks; known weights keep their masks."""
        before, self.chosen = self.chosen, self.maskable(model)
        known = before.keys() == self.chosen.keys() and all(
            before[name].parameter is weight.parameter for name, weight in self.chosen.items()
        )
        self.set_masks(
            {
                name: self.masks[name].to(weight.device)
                if known
                else torch.ones_like(weight, dtype=torch.bool, requires_grad=False)
                for name, weight in self.weights.items()
            }
        )

    @property
    def weights(self) -> dict[str, Tensor]:
        """The stored weights, or views of the chosen rows: name -> tensor, in network order."""
        return {name: weight.stored.detach() for name, weight in self.chosen.items()}

    def set_masks(self, masks: Masks) -> None:
        """Use `masks` (every chosen layer, True = keep) from now on and zero the rest."""
        kept = survivors(masks)
        pruned = [name for name, mask in masks.items() if kept[name] < mask.numel()]
        self.masks = masks
        whole = over_parameters(self.chosen, {name: masks[name] for name in pruned})
        self._pruned = [parameter for parameter, _ in whole]
        self._multipliers = multipliers(self._pruned, [mask for _, mask in whole])
        with torch.no_grad():
            for parameter, mask in whole:
                parameter.masked_fill_(~mask, 0)

    def prune_to(self, kept_total: int, allocation: str) -> None:
        """Remove weights until exactly `kept_total` are left; no masked weight comes back.

        `allocation` decides how many each layer keeps, `scores` which ones.
        Raises ValueError when fewer than `kept_total` are left.
        """
        alive = survivors(self.masks)
        total = sum(alive.values())
        if kept_total > total:
            size = sum(mask.numel() for mask in self.masks.values())
            raise ValueError(
                f"cannot keep {kept_total} of {size} weights: {size - total} are already pruned "
                "and pruning never revives a weight; ask for a higher sparsity"
            )
        if kept_total < total:
            amount = 1 - kept_total / total
            counts = ALLOCATIONS[allocation](self.weights, self.masks, amount)
            self.keep(exact(counts, alive, kept_total))

    def keep(self, counts: Counts) -> None:
        """Keep the `counts[name]` best weights of each layer by `scores`."""
        scores = self.scores()
        self.set_masks({name: keep_largest(scores[name], counts[name]) for name in self.masks})

    def scores(self) -> dict[str, Tensor]:
        """Layer name -> score per weight, negative where masked, else >= 0. Default: |w|."""
        weights = self.weights
        return {name: magnitude(weights[name], mask) for name, mask in self.masks.items()}

    def after_backward(self) -> None:
        pairs = [
            (weight.grad, multiplier)
            for weight, multiplier in zip(self._pruned, self._multipliers, strict=True)
            if weight.grad is not None
        ]
        if pairs:
            torch._foreach_mul_([grad for grad, _ in pairs], [factor for _, factor in pairs])

    def after_step(self) -> None:
        if self._pruned:
            with torch.no_grad():
                torch._foreach_mul_(self._pruned, self._multipliers)

    def state_dict(self) -> dict[str, Any]:
        """The masks as bits: {"masks": {layer: uint8 tensor of ceil(numel / 8)}}."""
        return {"masks": {name: pack(mask) for name, mask in self.masks.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the masks. Raises ValueError when the state is of other layers."""
        packed: Mapping[str, Tensor] = state["masks"]
        weights = self.weights
        if list(packed) != list(weights):
            raise ValueError(
                f"the saved masks are of {len(packed)} layers ({', '.join(list(packed)[:3])}, ...) "
                f"but this run prunes {len(weights)}; resume with the settings it began with"
            )
        self.set_masks(
            {
                name: unpack(packed[name], weight.shape).to(weight.device)
                for name, weight in weights.items()
            }
        )

    def finalize(self, model: nn.Module) -> nn.Module:
        """`model`, the attached one or a copy of it, with exact zeros at the masked weights."""
        with torch.no_grad():
            for name, mask in self.masks.items():
                weight = self.chosen[name].within(model).stored
                weight.masked_fill_(~mask.to(weight.device), 0)
        return model
