"""A small network for the embedded 8x8 digits: trains in seconds, prunes like a big one."""

from __future__ import annotations

from torch import Tensor, nn

from harness.models.architectures import DIGITS, architecture


@architecture(DIGITS, convnet_tiny={})
class ConvNetTiny(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, 8, 8); 14,458 parameters for digits.

    Three 3x3 convolutions of 16, 32 and 32 channels with batch norm, a 2x2 max-pool before the
    last, spatial mean, `fc`. Convolutions kaiming_normal with fan-out.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(32, num_classes)
        for conv in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.pool(self.relu(self.bn2(self.conv2(x))))
        x = self.relu(self.bn3(self.conv3(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
