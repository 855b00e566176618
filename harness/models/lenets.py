"""LeNet-300-100, Caffe's LeNet-5 and an even smaller one: networks of MNIST pruning."""

from __future__ import annotations

from torch import Tensor, nn

from harness.models.architectures import MNIST, architecture


@architecture(MNIST, lenet300={})
class LeNet300(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, 28, 28); 266,610 parameters for MNIST.

    784-300-100-10, ReLU between the layers, all with biases (LeCun et al. 1998; Han et al. 2015).
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_channels * 28 * 28, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, num_classes)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.fc1(images.flatten(1)))
        logits: Tensor = self.fc3(self.relu(self.fc2(x)))
        return logits


@architecture(MNIST, lenet5caffe={})
class LeNet5Caffe(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, 28, 28); 431,080 parameters for MNIST.

    Caffe's examples/mnist/lenet_train_test.prototxt: two valid 5x5 convolutions of 20 and 50
    filters, each followed by 2x2 max pooling and by no ReLU, then 500 units, ReLU, classes.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, num_classes)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(self.conv1(images))
        x = self.pool(self.conv2(x)).flatten(1)
        logits: Tensor = self.fc2(self.relu(self.fc1(x)))
        return logits


@architecture(MNIST, mlp64_tanh={})
class TanhPerceptron(nn.Module):
    """Logits (N, num_classes) for images (N, in_channels, 28, 28); 50,890 parameters for MNIST.

    784-64-10, tanh between the layers, both with biases.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_channels * 28 * 28, 64)
        self.fc2 = nn.Linear(64, num_classes)
        self.tanh = nn.Tanh()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc2(self.tanh(self.fc1(images.flatten(1))))
        return logits
