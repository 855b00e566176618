"""ResNets of depth 6n+2 for 32x32 images, with the three shortcuts found in published code."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from harness.models.architectures import CIFAR, architecture

WIDTHS = (16, 32, 64)


class StridedShortcut(nn.Module):
    """Every second row and column, zero channels in equal parts in front and behind (option A)."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.pad = (out_width - in_width) // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))


class AvgPoolShortcut(nn.Module):
    """2x2 average pool, zero channels appended; no gradient flows through it (FTWT's code)."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.pad = out_width - in_width

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(F.avg_pool2d(x.detach(), 2), (0, 0, 0, 0, 0, self.pad))


class ProjectionShortcut(nn.Sequential):
    """1x1 convolution with stride 2 and batch norm (option B); keys `0` and `1`."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__(
            nn.Conv2d(in_width, out_width, 1, stride=2, bias=False), nn.BatchNorm2d(out_width)
        )


SHORTCUTS: dict[str, type[nn.Module]] = {
    "strided": StridedShortcut,
    "avgpool": AvgPoolShortcut,
    "projection": ProjectionShortcut,
}
# What the published files call the classifier.
HEADS = {"strided": "linear", "avgpool": "fc", "projection": "fc"}


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + downsample(x)); stride 2 where the width changes."""

    def __init__(self, in_width: int, out_width: int, shortcut: str) -> None:
        super().__init__()
        same = in_width == out_width
        self.conv1 = nn.Conv2d(
            in_width, out_width, 3, stride=1 if same else 2, padding=1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Identity() if same else SHORTCUTS[shortcut](in_width, out_width)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.downsample(x))


@architecture(
    CIFAR,
    resnet20={"depth": 20, "shortcut": "strided"},
    resnet32={"depth": 32, "shortcut": "strided"},
    resnet44={"depth": 44, "shortcut": "strided"},
    resnet56={"depth": 56, "shortcut": "strided"},
    resnet110={"depth": 110, "shortcut": "strided"},
    resnet20_projection={"depth": 20, "shortcut": "projection"},
    resnet32_projection={"depth": 32, "shortcut": "projection"},
    resnet44_projection={"depth": 44, "shortcut": "projection"},
    resnet56_projection={"depth": 56, "shortcut": "projection"},
    resnet110_projection={"depth": 110, "shortcut": "projection"},
    resnet20_avgpool={"depth": 20, "shortcut": "avgpool"},
    resnet56_avgpool={"depth": 56, "shortcut": "avgpool"},
)
class CifarResNet(nn.Module):
    """Logits (N, num_classes) of a CIFAR ResNet for images (N, in_channels, 32, 32).

    depth: 6n+2, n basic blocks in each of three stages of 16, 32 and 64 channels.
    shortcut, where the shape changes:
      "strided"     option A; classifier `linear`; kaiming_normal with fan-in for every weight
      "projection"  option B, keys `downsample.0/1`; classifier `fc`
      "avgpool"     FTWT's, cut from the gradient; classifier `fc`
    The last two draw convolutions from N(0, sqrt(2 / (k*k*out))).
    Raises ValueError for another depth or shortcut.
    """

    def __init__(
        self, depth: int, shortcut: str, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"a CIFAR ResNet has depth 6n+2 (8, 14, 20, ...), not {depth}")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"shortcut {shortcut!r} is none of {', '.join(SHORTCUTS)}")
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        blocks = (depth - 2) // 6
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks, shortcut)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks, shortcut)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks, shortcut)
        self.avgpool = nn.AvgPool2d(8)
        self.head = HEADS[shortcut]
        self.add_module(self.head, nn.Linear(WIDTHS[2], num_classes))
        self._initialise(fan="fan_in" if shortcut == "strided" else "fan_out")

    def _initialise(self, fan: Literal["fan_in", "fan_out"]) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")
            elif isinstance(module, nn.Linear) and fan == "fan_in":
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.get_submodule(self.head)(self.avgpool(x).flatten(1))
        return logits


def _stage(in_width: int, out_width: int, blocks: int, shortcut: str) -> nn.Sequential:
    widths = [in_width] + [out_width] * blocks
    return nn.Sequential(
        *(BasicBlock(a, b, shortcut) for a, b in zip(widths, widths[1:], strict=False))
    )
