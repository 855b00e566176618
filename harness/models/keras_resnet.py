"""CIFAR ResNets that were written in Keras: ResNet-8 of MLPerf Tiny and a ResNet-20."""

from __future__ import annotations

import math

from torch import Tensor, nn

from harness.models.architectures import CIFAR, architecture

WIDTHS = (16, 32, 64)
BN_EPS = 1e-3
BN_MOMENTUM = 0.01  # Keras keeps 0.99 of the running statistics; torch's momentum is the rest
# Keras' HeNormal cuts the normal at two standard deviations and widens it to keep the variance.
TRUNCATED_STD = 0.87962566103423978


class KerasBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)); stride 2 where the width changes.

    All convolutions have a bias. The shortcut of a changing block is a 1x1 convolution with
    stride 2 and no batch norm.
    """

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        same = in_width == out_width
        # "same" padding of TensorFlow: an even input under stride 2 is padded behind only.
        self.pad = nn.ZeroPad2d((1, 1, 1, 1) if same else (0, 1, 0, 1))
        self.conv1 = nn.Conv2d(in_width, out_width, 3, stride=1 if same else 2)
        self.bn1 = nn.BatchNorm2d(out_width, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_width, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_width, out_width, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(self.pad(x))))
        out = self.bn2(self.conv2(out))
        return self.relu(out + self.shortcut(x))


@architecture(CIFAR, resnet8_keras={"blocks": 1}, resnet20_keras={"blocks": 3})
class KerasResNet(nn.Module):
    """Logits (N, num_classes), before Keras' softmax, for images (N, in_channels, 32, 32).

    blocks: per stage of 16, 32 and 64 channels; 1 is ResNet-8, 3 is ResNet-20. Keys `conv1`, `bn1`,
    `layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}`, `layer{2,3}.0.shortcut`, `fc`.
    Weights HeNormal as in ResNet-8's own graph description, biases 0.
    """

    def __init__(self, blocks: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0], eps=BN_EPS, momentum=BN_MOMENTUM)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks)
        self.avgpool = nn.AvgPool2d(8)
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                _he_normal_(module)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _stage(in_width: int, out_width: int, blocks: int) -> nn.Sequential:
    widths = [in_width] + [out_width] * blocks
    return nn.Sequential(*(KerasBlock(a, b) for a, b in zip(widths, widths[1:], strict=False)))


def _he_normal_(layer: nn.Conv2d | nn.Linear) -> None:
    std = math.sqrt(2 / layer.weight[0].numel()) / TRUNCATED_STD
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
