"""Small networks of published repositories: a few convolutions, a few linear layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.models.architectures import CIFAR, MNIST, architecture


class SigmoidGelu(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU by Hendrycks and Gimpel (2016)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": SigmoidGelu}


@architecture(
    CIFAR,
    lenet5_rgb={"convs": ((6, 5), (16, 5)), "units": (120, 84), "side": 32},
    lenet5_rgb_c1_f6={
        "convs": ((6, 5), (16, 5)),
        "units": (120, 84),
        "side": 32,
        "names": ("c1", "c3", "c5", "f6", "output"),
    },
    lenet_30_13={
        "convs": ((30, 3), (13, 3)),
        "units": (120, 86),
        "side": 32,
        "pools": ((3, 2), (3, 3)),
        "names": ("conv1", "conv2", "linear1", "linear2", "linear3"),
    },
    convnet_16_32_cifar={"convs": ((16, 3, 1, 1), (32, 3, 1, 1)), "units": (128,), "side": 32},
)
@architecture(
    MNIST,
    lenet5_padded={"convs": ((6, 5, 1, 2), (16, 5)), "units": (120, 84)},
    lenet5_padded_bn={
        "convs": ((6, 5, 1, 2), (16, 5)),
        "units": (120, 84),
        "norms": ("BN1", "BN2"),
    },
    lenet5_relu={"convs": ((20, 5), (50, 5)), "units": (500,)},
    convnet_16_32={"convs": ((16, 3, 1, 1), (32, 3, 1, 1)), "units": (128,)},
    convnet_16_32_bn={
        "convs": ((16, 3, 1, 1), (32, 3, 1, 1)),
        "units": (128,),
        "norms": ("bn1", "bn2"),
    },
    convnet_12={"convs": ((12, 3),), "units": ()},
    convnet_16_32_valid={"convs": ((16, 3), (32, 3)), "units": ()},
    convnet_32_64_valid={"convs": ((32, 3), (64, 3)), "units": ()},
    convnet_gelu={"convs": ((10, 5), (20, 5)), "units": (50,), "activation": "gelu"},
    convnet_strided={
        "convs": ((16, 4, 2, 1), (32, 4, 2, 1)),
        "units": (100,),
        "pools": (None, None),
        "names": ("0", "2", "5", "7"),
    },
)
class SmallConvNet(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, side, side).

    Every convolution is followed by batch norm, if there is any, max pooling and the activation;
    every linear layer but the last by the activation. All layers have biases.
    convs: (filters, kernel[, stride[, padding]]) each. units: of the hidden linear layers.
    pools: (kernel, stride) or None for each convolution; 2x2 by default.
    names, norms: of the layers with weights, as in the published files; conv1, conv2, ..., fc1,
    fc2, ... by default.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        *,
        convs: Sequence[Sequence[int]],
        units: Sequence[int],
        side: int = 28,
        pools: Sequence[tuple[int, int] | None] | None = None,
        names: Sequence[str] = (),
        norms: Sequence[str] = (),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        linears = [f"fc{i + 1}" for i in range(len(units) + 1)]
        names = names or [*(f"conv{i + 1}" for i in range(len(convs))), *linears]
        self.convs, self.linears, self.norms = names[: len(convs)], names[len(convs) :], norms
        channels = in_channels
        pooled = []
        windows = pools or ((2, 2),) * len(convs)
        for name, (filters, kernel, *rest), window in zip(self.convs, convs, windows, strict=True):
            stride, padding = (*rest, *(1, 0)[len(rest) :])
            self.add_module(name, nn.Conv2d(channels, filters, kernel, stride, padding))
            channels, side = filters, (side + 2 * padding - kernel) // stride + 1
            if window is not None:
                side = (side - window[0]) // window[1] + 1
            pooled.append(nn.Identity() if window is None else nn.MaxPool2d(*window))
        self.pools = nn.ModuleList(pooled)
        for name, (filters, *_) in zip(norms, convs, strict=False):
            self.add_module(name, nn.BatchNorm2d(filters))
        self.activation = ACTIVATIONS[activation]()
        widths = (channels * side * side, *units, num_classes)
        for name, wide, narrow in zip(self.linears, widths, widths[1:], strict=False):
            self.add_module(name, nn.Linear(wide, narrow))

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for i, name in enumerate(self.convs):
            x = self.get_submodule(name)(x)
            if self.norms:
                x = self.get_submodule(self.norms[i])(x)
            x = self.activation(self.pools[i](x))
        x = x.flatten(1)
        for name in self.linears[:-1]:
            x = self.activation(self.get_submodule(name)(x))
        logits: Tensor = self.get_submodule(self.linears[-1])(x)
        return logits
