"""MobileNetV1 with the key names that AC/DC, STR and FTWT share."""

from __future__ import annotations

from torch import Tensor, nn

from harness.models.architectures import CIFAR, IMAGENET, architecture

# (output channels, stride) of the 13 depthwise-separable blocks
BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


CIFAR_FORM = {"stem_stride": 1, "pool_size": 2}


@architecture(IMAGENET, mobilenetv1={})
@architecture(
    CIFAR,
    mobilenetv1_cifar={"width": 1.0, **CIFAR_FORM},
    mobilenetv1_cifar_075={"width": 0.75, **CIFAR_FORM},
    mobilenetv1_cifar_050={"width": 0.5, **CIFAR_FORM},
)
class MobileNetV1(nn.Module):
    """Logits (N, num_classes); keys `model.0.{0,1}`, `model.{1..13}.{0,1,3,4}`, `fc`.

    The defaults are the ImageNet form for 224x224 images: stem stride 2, 7x7 average pool. The
    CIFAR form of FTWT for 32x32 images has stem stride 1 and a 2x2 pool.
    width: every width is int(width * channels). dropout: before the classifier.
    ReLU, no convolution biases, torch's default initialisation. STR's classifier is a 1x1
    convolution without bias: the same numbers with a zero bias, 1000 parameters more here.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        width: float = 1.0,
        stem_stride: int = 2,
        pool_size: int = 7,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [int(width * channels) for channels in (32, *(out for out, _ in BLOCKS))]
        stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, stride=stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        blocks = (
            _separable(before, after, stride)
            for before, after, (_, stride) in zip(widths[:-1], widths[1:], BLOCKS, strict=True)
        )
        self.model = nn.Sequential(stem, *blocks, nn.AvgPool2d(pool_size))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.dropout(self.model(images).flatten(1)))
        return logits


def _separable(in_width: int, out_width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_width, in_width, 3, stride=stride, padding=1, groups=in_width, bias=False),
        nn.BatchNorm2d(in_width),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_width, out_width, 1, bias=False),
        nn.BatchNorm2d(out_width),
        nn.ReLU(inplace=True),
    )
