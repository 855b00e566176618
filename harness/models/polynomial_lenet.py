"""LeNets whose activations are polynomials, as encrypted inference needs them (MOFHEI)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.models.architectures import CIFAR, MNIST, architecture

SIDE = 32  # pictures of 28 pixels get a border of zeros


class Polynomial(nn.Module):
    """c0 + c1 x + c2 x^2 with learned coefficients (3,), the same for all elements."""

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor([0.0, 1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        constant, linear, square = self.coefficients
        return square * x * x + linear * x + constant


@architecture(
    CIFAR,
    lenet_poly_cifar_75={"widths": (6, 34, 128, 132)},
    lenet_poly_cifar_80={"widths": (5, 27, 103, 103)},
    lenet_poly_cifar_85={"widths": (3, 20, 77, 77)},
    lenet_poly_cifar_90={"widths": (2, 14, 51, 54)},
    lenet_poly_cifar_95={"widths": (1, 8, 26, 31)},
)
@architecture(
    MNIST,
    lenet_tanh_square={"widths": (6, 16, 120, 84), "activation": "tanh"},
    lenet_poly={"widths": (6, 16, 120, 84)},
    lenet_poly_50={"widths": (3, 8, 61, 48)},
    lenet_poly_55={"widths": (3, 7, 54, 44)},
    lenet_poly_60={"widths": (3, 7, 51, 39)},
    lenet_poly_65={"widths": (3, 6, 42, 35)},
    lenet_poly_70={"widths": (3, 5, 37, 29)},
    lenet_poly_75={"widths": (2, 5, 32, 22)},
    lenet_poly_80={"widths": (1, 3, 25, 18)},
    lenet_poly_85={"widths": (1, 3, 19, 14)},
    lenet_poly_90={"widths": (1, 2, 16, 9)},
    lenet_poly_95={"widths": (1, 1, 7, 5)},
)
class PolynomialLeNet(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, 28 or 32, 28 or 32).

    Three valid 5x5 convolutions, each followed by the activation, the first two then by 2x2 average
    pooling; a linear layer, its square, a linear layer. The names end in the sparsity that the
    authors asked for: pruned filters and units are gone, so `widths` differ.
    widths: filters of the convolutions, units of the hidden linear layer.
    activation: "polynomial" with three coefficients for each convolution, or "tanh".
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        *,
        widths: Sequence[int],
        activation: str = "polynomial",
    ) -> None:
        super().__init__()
        first, second, third, units = widths
        self.conv1 = nn.Conv2d(in_channels, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.conv3 = nn.Conv2d(second, third, 5)
        self.pool = nn.AvgPool2d(2)
        self.fc1 = nn.Linear(third, units)
        self.fc2 = nn.Linear(units, num_classes)
        made = [nn.Tanh() if activation == "tanh" else Polynomial() for _ in range(3)]
        self.poly1, self.poly2, self.poly3 = made

    def forward(self, images: Tensor) -> Tensor:
        border = (SIDE - images.shape[-1]) // 2
        x = F.pad(images, (border,) * 4)
        x = self.pool(self.poly1(self.conv1(x)))
        x = self.pool(self.poly2(self.conv2(x)))
        x = self.fc1(self.poly3(self.conv3(x)).flatten(1))
        logits: Tensor = self.fc2(x * x)
        return logits
