"""SqueezeNet 1.0 as the Caffe file of Deep Compression describes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models.architectures import IMAGENET_CAFFE, architecture


class Fire(nn.Module):
    """Squeeze 1x1, then 1x1 and padded 3x3 side by side, the 1x1 half first; ReLU after each."""

    def __init__(self, in_width: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.conv1x1_1 = nn.Conv2d(in_width, squeezed, 1)
        self.conv1x1_2 = nn.Conv2d(squeezed, expanded, 1)
        self.conv3x3_2 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1x1_1(x), inplace=True)
        both = torch.cat((self.conv1x1_2(x), self.conv3x3_2(x)), 1)
        return F.relu(both, inplace=True)


@architecture(IMAGENET_CAFFE, squeezenet1_0_caffe={})
class SqueezeNetCaffe(nn.Module):
    """Class scores (N, num_classes), all >= 0, for images (N, in_channels, 227, 227).

    Keys are the layer names of the published graph with `.` for `/`: `conv1`,
    `fire2.conv1x1_1`, ..., `conv_final`, each with weight and bias. Three things differ from
    torchvision's squeezenet1_0: `conv_final` is padded by 1, its keys, and the input of 227.
    Max-pools round up; scores are the spatial mean after the ReLU behind `conv_final`.
    Convolutions kaiming_uniform, `conv_final` N(0, 0.01), biases 0, as torchvision's.
    """

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, *, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 96, 7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.fire2 = Fire(96, 16, 64)
        self.fire3 = Fire(128, 16, 64)
        self.fire4 = Fire(128, 32, 128)
        self.fire5 = Fire(256, 32, 128)
        self.fire6 = Fire(256, 48, 192)
        self.fire7 = Fire(384, 48, 192)
        self.fire8 = Fire(384, 64, 256)
        self.fire9 = Fire(512, 64, 256)
        self.dropout = nn.Dropout(dropout)
        self.conv_final = nn.Conv2d(512, num_classes, 1, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.conv_final.weight, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(images), inplace=True))
        x = self.pool(self.fire4(self.fire3(self.fire2(x))))
        x = self.pool(self.fire8(self.fire7(self.fire6(self.fire5(x)))))
        x = self.conv_final(self.dropout(self.fire9(x)))
        return F.relu(x, inplace=True).mean((2, 3))
