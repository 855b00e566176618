"""torchvision's ResNet-18/34/50/101 for 32x32 images: IPruning, EDropout, RD_PRUNE."""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet, get_model


def cifar_imagenet_resnet(depth: int, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """A torchvision ResNet whose stem is a 3x3 convolution with stride 1 and no max-pool.

    State-dict keys are torchvision's. Convolutions are kaiming_normal with fan-out, batch norm is
    1/0 everywhere. Raises ValueError for a depth torchvision does not have.
    """
    model: ResNet = get_model(f"resnet{depth}", weights=None, num_classes=num_classes)
    model.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model
