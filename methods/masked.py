"""Base of the methods that zero stored weights: masks multiplied in place around each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from methods.allocation import ALLOCATIONS, Counts, exact, magnitude, survivors
from methods.base import Method, Schedule, Settings, select_layers
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
    """Which Conv2d and Linear layers a method works on: shell globs over layer names."""

    include: tuple[str, ...] = ()  # empty = all
    exclude: tuple[str, ...] = ()


def chosen_layers(model: nn.Module, settings: LayerSettings) -> dict[str, nn.Module]:
    """The layers `settings` selects, in registration order: name -> module.

    Raises ValueError when a pattern matches nothing or nothing is left.
    """
    layers = select_layers(model, settings.include, settings.exclude)
    if not layers:
        raise ValueError(
            f"no layer left to prune: include={list(settings.include)} and "
            f"exclude={list(settings.exclude)} leave none of the model's Conv2d and Linear layers"
        )
    return layers


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
        self.weights: dict[str, nn.Parameter] = {}
        self._pruned: list[Tensor] = []  # weights of layers with a zero in their mask
        self._multipliers: list[Tensor] = []  # their masks as 0/1 floats

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self.adopt(model)

    def masked_parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """What masks are for: name -> parameter. Default: layer name -> its weight."""
        return {
            name: layer.weight  # type: ignore[misc]
            for name, layer in chosen_layers(model, self.settings).items()
        }

    def adopt(self, model: nn.Module) -> None:
        """Take over the model's weights with all-True masks; known weights keep their masks."""
        weights = self.masked_parameters(model)
        known = self.weights.keys() == weights.keys() and all(
            self.weights[name] is weight for name, weight in weights.items()
        )
        self.weights = weights
        self.set_masks(
            {
                name: self.masks[name].to(weight.device)
                if known
                else torch.ones_like(weight, dtype=torch.bool)
                for name, weight in weights.items()
            }
        )

    def set_masks(self, masks: Masks) -> None:
        """Use `masks` (every chosen layer, True = keep) from now on and zero the rest."""
        kept = survivors(masks)
        pruned = [name for name, mask in masks.items() if kept[name] < mask.numel()]
        self.masks = masks
        self._pruned = [self.weights[name] for name in pruned]
        self._multipliers = multipliers(self._pruned, [masks[name] for name in pruned])
        with torch.no_grad():
            for name in pruned:
                self.weights[name].masked_fill_(~masks[name], 0)

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
        return {name: magnitude(self.weights[name], mask) for name, mask in self.masks.items()}

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
        if list(packed) != list(self.weights):
            raise ValueError(
                f"the saved masks are of {len(packed)} layers ({', '.join(list(packed)[:3])}, ...) "
                f"but this run prunes {len(self.weights)}; resume with the settings it began with"
            )
        self.set_masks(
            {
                name: unpack(packed[name], weight.shape).to(weight.device)
                for name, weight in self.weights.items()
            }
        )

    def finalize(self, model: nn.Module) -> nn.Module:
        """`model`, the attached one or a copy of it, with exact zeros at the masked weights."""
        parameters = self.masked_parameters(model) if self.masks else {}
        with torch.no_grad():
            for name, mask in self.masks.items():
                parameters[name].masked_fill_(~mask.to(parameters[name].device), 0)
        return model
