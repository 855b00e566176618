"""VGG-16 for 32x32 images: torchvision's `features`, one linear layer behind."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from harness.models.architectures import CIFAR, architecture

POOL = 0  # entry of a plan: a 2x2 max-pool instead of a convolution
VGG16_PLAN = (
    *(64, 64, POOL),
    *(128, 128, POOL),
    *(256, 256, 256, POOL),
    *(512, 512, 512, POOL),
    *(512, 512, 512, POOL),
)


@architecture(
    CIFAR,
    vgg16_cifar={"plan": VGG16_PLAN, "batch_norm": False},
    vgg16_bn_cifar={"plan": VGG16_PLAN, "batch_norm": True},
)
class CifarVGG(nn.Module):
    """Logits (N, num_classes) of a VGG whose pools reduce (N, in_channels, 32, 32) to 1x1.

    plan: widths of the 3x3 convolutions (with bias), POOL where a max-pool stands.
    Keys `features.i` as in torchvision, then `classifier`. Convolutions N(0, sqrt(2 / (k*k*out))),
    biases 0, linear N(0, 0.01) as in FTWT's code. The VGG-16 of RD_PRUNE and FTWT has batch norm.
    """

    def __init__(
        self,
        plan: Sequence[int],
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.features = _features(plan, in_channels, batch_norm)
        last = [width for width in plan if width != POOL][-1]
        self.classifier = nn.Linear(last, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


def _features(plan: Sequence[int], in_channels: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in plan:
        if width == POOL:
            layers.append(nn.MaxPool2d(2))
            continue
        layers.append(nn.Conv2d(in_channels, width, 3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
        in_channels = width
    return nn.Sequential(*layers)
