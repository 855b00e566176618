"""Candidates of AlexNet, VGG and SqueezeNet without the channels that are off, on a CPU.

A filter of theirs that is off, bias included, gives zeros, so the layers after it need no columns
for it: half of the filters off leaves a quarter of the products. Large linear layers keep their
weights, which cost more to cut than to multiply: their inputs are masked instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.ipruning.channel_blocks import block_indices
from methods.ipruning.filter_layout import FilterLayout

# torchvision's, whose forward pass is features, an optional pooling, classifier.
PLAIN = {f"torchvision.models.{name}" for name in ("alexnet", "vgg", "squeezenet")}
PASSIVE = (nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout)
FIRE = ("squeeze", "expand1x1", "expand3x3")
Entry = tuple[dict[str, Any], str, Any]


class PlainChannels:
    """Stand-ins for one state, as CutParameters makes them for ResNets.

    Raises ValueError for networks whose forward pass their classes do not determine, and for
    batch norms, whose shift makes a filter that is off give something else than zeros.
    """

    def __init__(self, model: nn.Module, layout: FilterLayout) -> None:
        parts = dict(model.named_children())
        if type(model).__module__ not in PLAIN or not {"features", "classifier"} <= parts.keys():
            raise ValueError(f"{type(model).__name__} is no plain chain of known layers")
        self._modules = dict(model.named_modules())
        self._groups = {group.name: group for group in layout.groups}
        self._chain = [
            f"{part}.{name}" for part in ("features", "classifier") for name in _names(parts[part])
        ]

    def entries(self, state: Tensor) -> list[Entry]:
        """What stands in for weights and layers under `state` (D,), which is on the CPU."""
        made: list[Entry] = []
        alive = torch.arange(self._modules[self._chain[0]].weight.shape[1])  # of the picture
        width = len(alive)
        for name in self._chain:
            layer = self._modules[name]
            if isinstance(layer, nn.Linear):
                made.append(self._gated(name, layer, state, alive, width))
                alive, width = torch.arange(layer.out_features), layer.out_features
            elif not isinstance(layer, nn.Conv2d):
                squeezed = self._cut(made, f"{name}.squeeze", state, alive)
                parts = [self._cut(made, f"{name}.{key}", state, squeezed) for key in FIRE[1:]]
                first = self._modules[f"{name}.expand1x1"].weight.shape[0]
                alive = torch.cat([parts[0], parts[1] + first])
                width = first + self._modules[f"{name}.expand3x3"].weight.shape[0]
            elif self._groups[name].kind == "inputs":  # the classifier of SqueezeNet
                on = self._bits(name, state)[alive].view(1, -1, 1, 1)
                made.append((layer._parameters, "weight", layer.weight[:, alive] * on))
            else:
                alive, width = self._cut(made, name, state, alive), layer.out_channels
        return made

    def _bits(self, name: str, state: Tensor) -> Tensor:
        group = self._groups[name]
        return state[group.start : group.stop]

    def _cut(self, made: list[Entry], name: str, state: Tensor, columns: Tensor) -> Tensor:
        """The convolution with what its bits leave, in whole blocks; the rows that stay."""
        bits, table = self._bits(name, state), self._modules[name]._parameters
        rows = block_indices(bits != 0)
        on = bits[rows]
        weight, bias = table["weight"], table["bias"]
        assert weight is not None and bias is not None  # see `_names`
        cut = weight[rows[:, None], columns[None, :]] * on.view(-1, 1, 1, 1)
        made.extend([(table, "weight", cut), (table, "bias", bias[rows] * on)])
        return rows

    def _gated(
        self, name: str, layer: nn.Linear, state: Tensor, alive: Tensor, width: int
    ) -> Entry:
        area = layer.in_features // width  # places of a channel's map, flattened behind it
        columns = (alive[:, None] * area + torch.arange(area)).flatten()
        parent, _, key = name.rpartition(".")
        gated = GatedLinear(layer, self._bits(name, state), columns)
        return self._modules[parent]._modules, key, gated


def arranged(model: nn.Module, images: Tensor) -> Tensor:
    """Images (B,C,H,W) as a CPU runs these networks fastest: with the channels last.

    Convolutions are spared a copy each, and poolings take a fifth of the time. As they are for any
    other network, whose forward pass may ask for one order of memory, and on other devices.
    """
    fitting = type(model).__module__ in PLAIN and images.device.type == "cpu"
    return images.contiguous(memory_format=torch.channels_last) if fitting else images


class GatedLinear(nn.Module):
    """A linear layer that reads the inputs at `columns` (n,), those whose bit is off as zeros."""

    def __init__(self, layer: nn.Linear, bits: Tensor, columns: Tensor) -> None:
        super().__init__()
        self.layer, self.columns = layer, columns
        self.on = bits[columns]

    def forward(self, features: Tensor) -> Tensor:
        """(N, n) -> (N, out)."""
        seen = features * self.on
        if len(self.columns) < self.layer.in_features:
            seen = seen.new_zeros(len(seen), self.layer.in_features).index_copy_(
                1, self.columns, seen
            )
        return F.linear(seen, self.layer.weight, self.layer.bias)


def _names(part: nn.Module) -> Iterator[str]:
    """Names of the layers with weights, in order. Raises ValueError for others than known ones."""
    for name, layer in part.named_children():
        fire = all(isinstance(getattr(layer, key, None), nn.Conv2d) for key in FIRE)
        if isinstance(layer, PASSIVE):
            continue
        if not (fire or isinstance(layer, nn.Conv2d | nn.Linear)):
            raise ValueError(f"{type(layer).__name__} is no layer of a plain chain")
        if any(m.bias is None for m in layer.modules() if isinstance(m, nn.Conv2d)):
            raise ValueError(f"{name}: a convolution without bias")
        yield name
