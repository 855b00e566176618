"""torchvision's ResNet-18/34/50/101 for 32x32 images: IPruning, EDropout, RD_PRUNE."""

from __future__ import annotations

from torch import nn
from torchvision.models import ResNet, get_model
from torchvision.models.resnet import BasicBlock

from harness.models.architectures import CIFAR, architecture

FULL_WIDTH = 64  # channels of the stem; every stage after the first doubles them
RESNET18_BLOCKS = 2  # per stage


@architecture(
    CIFAR,
    resnet18_cifar={"depth": 18},
    resnet34_cifar={"depth": 34},
    resnet50_cifar={"depth": 50},
    resnet101_cifar={"depth": 101},
)
def cifar_imagenet_resnet(depth: int, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """A torchvision ResNet whose stem is a 3x3 convolution with stride 1 and no max-pool.

    State-dict keys are torchvision's. Convolutions are kaiming_normal with fan-out, batch norm is
    1/0 everywhere. Raises ValueError for a depth torchvision does not have.
    """
    model: ResNet = get_model(f"resnet{depth}", weights=None, num_classes=num_classes)
    _put_stem(model, in_channels, FULL_WIDTH)
    return model


@architecture(CIFAR, resnet18_cifar_quarter={"width": 16})
def narrow_resnet18(width: int, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-18 for 32x32 images with `width` channels in the stem instead of 64.

    Keys, wiring and initialisation are those of `cifar_imagenet_resnet(18)`; no paper's network,
    but one that trains on a CPU.
    """
    model: ResNet = get_model("resnet18", weights=None, num_classes=num_classes)
    _put_stem(model, in_channels, width)
    model.bn1 = nn.BatchNorm2d(width)
    inputs = width
    for stage in range(4):
        outputs = width * 2**stage
        setattr(model, f"layer{stage + 1}", _stage(inputs, outputs, 1 if stage == 0 else 2))
        inputs = outputs
    model.fc = nn.Linear(inputs, num_classes)
    return model


def _put_stem(model: ResNet, in_channels: int, width: int) -> None:
    model.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1:
        conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
    blocks = [BasicBlock(inputs, outputs, stride, shortcut)]
    blocks += [BasicBlock(outputs, outputs) for _ in range(1, RESNET18_BLOCKS)]
    for module in (m for block in blocks for m in block.modules()):
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(*blocks)
