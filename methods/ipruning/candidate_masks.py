"""Wearing a filter state for one forward pass; the stored weights stay untouched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from methods.ipruning.filter_layout import FilterLayout, mask_view
from methods.ipruning.plain_channels import PlainChannels, arranged
from methods.ipruning.residual_channels import Skeleton, channel_plan

# A module's table, the key in it, the tensor or layer to put there.
Entry = tuple[dict[str, Any], str, Any]


@contextmanager
def replaced(entries: Sequence[Entry]) -> Iterator[None]:
    """Put tensors in place of parameters or buffers, or layers, for as long as it lasts."""
    originals = [table[key] for table, key, _ in entries]
    try:
        for table, key, tensor in entries:
            table[key] = tensor
        yield
    finally:
        for (table, key, _), original in zip(entries, originals, strict=True):
            table[key] = original


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Batch norm and dropout as in evaluation while the context lasts; flags come back."""
    active = [m for m in model.modules() if m.training]
    for module in active:
        module.training = False
    try:
        yield
    finally:
        for module in active:
            module.training = True


class MaskedParameters:
    """Masked stand-ins of the few parameters that decide a network's output (`Group.gates`).

    They are products with broadcast views of the state, so gradients reach the stored parameters
    already masked, exactly aligned with the forward mask, and no dense mask exists.
    """

    def __init__(self, model: nn.Module, layout: FilterLayout) -> None:
        modules = dict(model.named_modules())
        self._slots = []
        for group in layout.groups:
            for entry in group.gates:
                owner, _, key = entry.name.rpartition(".")
                self._slots.append((modules[owner]._parameters, key, group, entry))

    def entries(self, state: Tensor) -> list[Entry]:
        """The stand-ins for one state (D,)."""
        made: list[Entry] = []
        bits = state.to(torch.float32)
        for table, key, group, entry in self._slots:
            tensor = table[key]
            if tensor is not None:
                made.append((table, key, tensor * mask_view(bits, group, entry).to(tensor.dtype)))
        return made


class WornState:
    """Hooks on the whole model that mask every forward pass while a state is worn."""

    def __init__(self, model: nn.Module, layout: FilterLayout) -> None:
        self.state: Tensor | None = None
        self._parameters = MaskedParameters(model, layout)
        self._open: list[Any] = []
        self._handles = [
            model.register_forward_pre_hook(self._enter),
            model.register_forward_hook(self._leave, always_call=True),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        if self.state is not None:
            context = replaced(self._parameters.entries(self.state))
            context.__enter__()
            self._open.append(context)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._open:
            self._open.pop().__exit__(None, None, None)


def _batch_mean(maps: Tensor) -> Tensor:
    """(B,C,H,W) -> (C,H,W), in the order of memory, which takes a tenth of the time."""
    last = maps.is_contiguous(memory_format=torch.channels_last)
    return maps.movedim(1, -1).mean(0).movedim(-1, 0) if last else maps.mean(0)


class CutParameters:
    """Stand-ins for a ResNet whose dead channels are left out, for evaluation-mode batch norm.

    All blocks between two shape changes share one set of residual channels, so the model's own
    forward runs on the narrower tensors and gives the output of the masked network.
    """

    def __init__(self, model: nn.Module, layout: FilterLayout, skeleton: Skeleton) -> None:
        self._modules = dict(model.named_modules())
        self._groups = {group.name: group for group in layout.groups}
        self._skeleton = skeleton

    def entries(self, state: Tensor) -> list[Entry]:
        """The stand-ins for one state (D,); the state decides sizes, so it should be on the CPU."""
        plan = channel_plan(self._skeleton, self._groups, state, shared_streams=True)
        made: list[Entry] = []
        for conv, norm in self._skeleton.norms.items():
            cut = plan.convs[conv]
            weight = self._modules[conv]._parameters
            made.append((weight, "weight", _cut(_tensor(weight, "weight"), cut.rows, cut.columns)))
            table, buffers = self._modules[norm]._parameters, self._modules[norm]._buffers
            on = state[self._groups[conv].start : self._groups[conv].stop][cut.rows]
            for key in ("weight", "bias"):
                made.append((table, key, _tensor(table, key)[cut.rows] * on))
            for key in ("running_mean", "running_var"):
                made.append((buffers, key, _tensor(buffers, key)[cut.rows]))
        head = self._groups[self._skeleton.classifier]
        table = self._modules[head.name]._parameters
        columns = plan.stream
        on = state[head.start : head.stop][columns]
        made.append((table, "weight", _tensor(table, "weight")[:, columns] * on))
        return made


def _tensor(table: dict[str, Any], key: str) -> Tensor:
    tensor: Tensor = table[key]
    return tensor


def _cut(weight: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return weight[rows[:, None], columns[None, :]]


@torch.no_grad()
def candidate_logits(
    model: nn.Module,
    states: Iterable[Tensor],
    stand_ins: MaskedParameters | CutParameters | PlainChannels,
    images: Tensor,
) -> Tensor:
    """Logits (NS,B,K) of the network wearing each state in turn; no gradient, flat memory."""
    images = arranged(model, images) if isinstance(stand_ins, PlainChannels) else images
    logits = []
    for state in states:
        with replaced(stand_ins.entries(state)):
            logits.append(model(images))
    return torch.stack(logits)


@torch.no_grad()
def mean_activations(model: nn.Module, names: Sequence[str], images: Tensor) -> dict[str, Tensor]:
    """Batch mean (C,H,W) of each named convolution's output in one unmasked forward pass."""
    means: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_hook(
            lambda module, args, output, name=name: means.__setitem__(name, _batch_mean(output))
        )
        for name in names
    ]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return means
