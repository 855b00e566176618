"""What the public code of IPruning and EDropout computes, kept apart from what was intended.

Two code generations, named by their layouts: "ip" (IPruning) and "ed06" (EDropout, 2020-06-23).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from methods.ipruning.filter_layout import FilterLayout, apply_state_, mask_view

IP_WINDOW = 50
ED06_WINDOW = 10
ED06_FIRST_BATCH = 10  # no stop before the batch after this one of an epoch
IP_FIRST_GENERATION = 1000


def has_converged(costs: Sequence[float], window: int) -> bool:
    """True if any of the `window - 1` costs before the last one equals it (spec 1.5).

    One equal value suffices, because the code takes the mean of the comparisons as a truth
    value; a history of one cost has nothing to compare and counts as converged.
    Raises ValueError for an empty history.
    """
    if not costs:
        msg = "no best cost recorded yet; evaluate a generation before asking for convergence"
        raise ValueError(msg)
    previous = costs[-window:-1]
    return not previous or any(cost == costs[-1] for cost in previous)


def float32_gray_levels(pixels: Tensor) -> Tensor:
    """Pixels (...,C,P) scaled over all channels of the layer, in the code's arithmetic.

    x - min, times 255, over max - min, all in float32: the largest pixel may round to a little
    above 255, and the histogram leaves it out.
    """
    stored = pixels.float()
    low, high = stored.amin((-2, -1), keepdim=True), stored.amax((-2, -1), keepdim=True)
    return ((stored - low) * 255 / (high - low)).double()


def gradient_masks(layout: FilterLayout, state: Tensor) -> dict[str, Tensor]:
    """Parameter name -> broadcast view of the bits its gradient is multiplied with (spec 2.1).

    "ip": the forward masks without the shortcut norms. "ed06": shortcut tensors reuse the bits of
    the convolution before them and do not advance the pointer, so everything after the first
    shortcut is shifted against the forward mask. Parameters that are missing are not masked.
    """
    if layout.rule == "ip":
        return {
            entry.name: mask_view(state, group, entry)
            for group in layout.groups
            for entry in group.masked
            if "downsample.1" not in entry.name
        }
    masks: dict[str, Tensor] = {}
    pointer, bits = 0, state[:0]
    for group in layout.groups:
        if "downsample" not in group.name:
            bits = state[pointer : pointer + group.width]
            pointer += group.width
        for entry in group.parameters:
            axis = 1 if group.kind == "inputs" else 0
            if axis < len(entry.shape):
                shape = [1] * len(entry.shape)
                shape[axis] = group.width
                masks[entry.name] = bits.view(shape)
    return masks


def restored_names(layout: FilterLayout) -> list[str]:
    """Parameters that are backed up before masking and restored after the backward pass.

    "ip": convolution and classifier weights but no batch norm, so the scale and bias of a
    channel that was off once stay 0. "ed06": every masked parameter.
    """
    return [
        entry.name
        for group in layout.groups
        for entry in group.masked
        if layout.rule == "ed06" or len(entry.shape) > 1
    ]


def final_state(best: Tensor, classes: int) -> Tensor:
    """`best` with its last `classes` bits on: class bits in "ip", classifier inputs in "ed06"."""
    state = best.clone()
    state[-classes:] = 1
    return state


class InPlaceMasks:
    """Masks multiplied into the stored weights, with the released backup and restore."""

    def __init__(self, model: nn.Module, layout: FilterLayout) -> None:
        self._model = model
        self._layout = layout
        self._parameters = dict(model.named_parameters())
        self._backup: dict[str, Tensor] = {}
        self._state: Tensor | None = None
        self.frozen = False  # the search has converged

    @torch.no_grad()
    def put_on(self, state: Tensor) -> None:
        """Back up what is restored later and mask the weights for the coming forward pass.

        After convergence nothing is backed up any more: "ed06" goes on restoring its last backup,
        "ip" leaves the masked weights as they are.
        """
        if not self.frozen:
            self._backup = {n: self._parameters[n].clone() for n in restored_names(self._layout)}
        apply_state_(self._model, self._layout, state)
        self._state = state

    @torch.no_grad()
    def after_backward(self) -> None:
        """Mask the gradients, then put the backup back."""
        if self._state is None:
            return
        for name, mask in gradient_masks(self._layout, self._state).items():
            gradient = self._parameters[name].grad
            if gradient is not None:
                gradient.mul_(mask.to(gradient.dtype))
        if not self.frozen or self._layout.rule == "ed06":
            for name, tensor in self._backup.items():
                self._parameters[name].copy_(tensor)
        self._state = None

    def state_dict(self) -> dict[str, Tensor]:
        """The backup; it outlives a step once the search has converged."""
        return dict(self._backup)

    def load_state_dict(self, backup: dict[str, Tensor]) -> None:
        """Inverse of state_dict."""
        device = next(iter(self._parameters.values())).device
        self._backup = {name: tensor.to(device) for name, tensor in backup.items()}
