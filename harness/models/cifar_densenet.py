"""DenseNet with bottlenecks for 32x32 images, the form of RD_PRUNE and LAMP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models.architectures import CIFAR, architecture


class DenseLayer(nn.Module):
    """bn1-relu-conv1 1x1 to 4*growth, bn2-relu-conv2 3x3 to growth; the new channels come first."""

    def __init__(self, in_width: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, 4 * growth, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(F.relu(self.bn1(x), inplace=True))
        new = self.conv2(F.relu(self.bn2(new), inplace=True))
        return torch.cat((new, x), 1)


class Transition(nn.Module):
    """bn-relu-conv 1x1 to half the channels, then a 2x2 average pool."""

    def __init__(self, in_width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_width)
        self.conv = nn.Conv2d(in_width, in_width // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.bn(x), inplace=True)), 2)


@architecture(CIFAR, densenet121_cifar={"blocks": (6, 12, 24, 16), "growth": 12})
class CifarDenseNet(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, 32, 32).

    blocks: dense layers in each of four blocks, (6, 12, 24, 16) for DenseNet-121. Keys `conv1`,
    `dense{b}.{i}`, `trans{b}`, `bn`, `linear`. No batch norm after the stem, no convolution
    biases, torch's default initialisation.
    """

    def __init__(
        self, blocks: Sequence[int], growth: int, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        super().__init__()
        if len(blocks) != 4:
            raise ValueError(f"a DenseNet here has 4 dense blocks, not {len(blocks)}")
        ins, outs = _widths(blocks, growth)
        self.conv1 = nn.Conv2d(in_channels, ins[0], 3, padding=1, bias=False)
        self.dense1 = _dense_block(ins[0], blocks[0], growth)
        self.trans1 = Transition(outs[0])
        self.dense2 = _dense_block(ins[1], blocks[1], growth)
        self.trans2 = Transition(outs[1])
        self.dense3 = _dense_block(ins[2], blocks[2], growth)
        self.trans3 = Transition(outs[2])
        self.dense4 = _dense_block(ins[3], blocks[3], growth)
        self.bn = nn.BatchNorm2d(outs[3])
        self.linear = nn.Linear(outs[3], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.trans1(self.dense1(self.conv1(images)))
        x = self.trans3(self.dense3(self.trans2(self.dense2(x))))
        x = F.relu(self.bn(self.dense4(x)), inplace=True)
        logits: Tensor = self.linear(F.avg_pool2d(x, 4).flatten(1))
        return logits


def _widths(blocks: Sequence[int], growth: int) -> tuple[list[int], list[int]]:
    """Channels entering and leaving each dense block; a transition halves them."""
    ins, outs = [2 * growth], [2 * growth + blocks[0] * growth]
    for layers in blocks[1:]:
        ins.append(outs[-1] // 2)
        outs.append(ins[-1] + layers * growth)
    return ins, outs


def _dense_block(in_width: int, layers: int, growth: int) -> nn.Sequential:
    return nn.Sequential(*(DenseLayer(in_width + i * growth, growth) for i in range(layers)))
