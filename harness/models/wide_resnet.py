"""The WRN-28-10 of AC/DC's code, which is not the usual one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from harness.models.architectures import CIFAR, architecture


class WideBlock(nn.Module):
    """conv2(relu(bn2(dropout(conv1(relu(bn1(x))))))) + shortcut(x).

    conv2 carries the stride, every convolution has a bias, and the shortcut reads the raw x.
    """

    def __init__(self, in_width: int, out_width: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, out_width, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, stride=stride, padding=1)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_width != out_width:
            self.shortcut.append(nn.Conv2d(in_width, out_width, 1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        out = self.dropout(self.conv1(F.relu(self.bn1(x), inplace=True)))
        out = self.conv2(F.relu(self.bn2(out), inplace=True))
        total: Tensor = out + self.shortcut(x)
        return total


@architecture(CIFAR, wrn28_10={"depth": 28, "widen": 10})
class WideResNet(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, 32, 32).

    depth: 6n+4, n blocks in each of three stages of 16, 32 and 64 times `widen` channels.
    The last batch norm has momentum 0.9 in torch's sense: its running statistics almost equal
    those of the last batch. Activations and the last pool are functions, not modules, which
    AC/DC's FLOPs counter therefore does not see. torch's default initialisation.
    """

    def __init__(
        self,
        depth: int,
        widen: int,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"a wide ResNet has depth 6n+4 (10, 16, 22, 28, ...), not {depth}")
        blocks = (depth - 4) // 6
        widths = [16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1)
        self.layer1 = _stage(16, widths[0], blocks, 1, dropout)
        self.layer2 = _stage(widths[0], widths[1], blocks, 2, dropout)
        self.layer3 = _stage(widths[1], widths[2], blocks, 2, dropout)
        self.bn1 = nn.BatchNorm2d(widths[2], momentum=0.9)
        self.linear = nn.Linear(widths[2], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(images))))
        x = F.relu(self.bn1(x), inplace=True)
        logits: Tensor = self.linear(F.avg_pool2d(x, 8).flatten(1))
        return logits


def _stage(
    in_width: int, out_width: int, blocks: int, stride: int, dropout: float
) -> nn.Sequential:
    first = WideBlock(in_width, out_width, stride, dropout)
    rest = (WideBlock(out_width, out_width, 1, dropout) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)
