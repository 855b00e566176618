"""EfficientNet-B0 for 32x32 images, the form of RD_PRUNE and LAMP."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from harness.models.architectures import CIFAR, architecture

# (expansion, output channels, blocks, kernel, stride of the first block)
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
STEM = 32


class SqueezeExcite(nn.Module):
    """x times a gate per channel, from its spatial mean through two 1x1 convolutions with bias."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.se1 = nn.Conv2d(width, squeezed, 1)
        self.se2 = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.se2(F.silu(self.se1(F.adaptive_avg_pool2d(x, 1))))
        return x * gate.sigmoid()


class MBConv(nn.Module):
    """Expand 1x1, depthwise k x k, squeeze-excite, project 1x1; skip if nothing changes shape.

    A block with expansion 1 owns `conv1` and `bn1` but never runs them, as in the published code:
    they count as parameters and prunable weights, not as MACs. The gate squeezes to a quarter of
    the block's input channels. No drop-connect: it is configured there but never active.
    """

    def __init__(
        self, in_width: int, out_width: int, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        width = expansion * in_width
        self.expands = expansion != 1
        self.skips = stride == 1 and in_width == out_width
        self.conv1 = nn.Conv2d(in_width, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, kernel, stride=stride, padding=kernel // 2, groups=width, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.se = SqueezeExcite(width, in_width // 4)
        self.conv3 = nn.Conv2d(width, out_width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_width)

    def forward(self, x: Tensor) -> Tensor:
        out = F.silu(self.bn1(self.conv1(x))) if self.expands else x
        out = self.se(F.silu(self.bn2(self.conv2(out))))
        out = self.bn3(self.conv3(out))
        return out + x if self.skips else out


@architecture(CIFAR, efficientnet_b0_cifar={})
class CifarEfficientNetB0(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, 32, 32).

    Stem with stride 1, 16 blocks `layers.i`, and `linear` on 320 channels directly: no 1280-channel
    head. dropout: before the classifier. torch's default initialisation.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, *, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, STEM, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        blocks = []
        width = STEM
        for expansion, out_width, count, kernel, stride in STAGES:
            for index in range(count):
                blocks.append(MBConv(width, out_width, expansion, kernel, 1 if index else stride))
                width = out_width
        self.layers = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layers(F.silu(self.bn1(self.conv1(images))))
        logits: Tensor = self.linear(self.dropout(F.adaptive_avg_pool2d(x, 1).flatten(1)))
        return logits
