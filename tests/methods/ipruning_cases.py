"""A small torchvision-keyed ResNet and the stored numbers the IPruning tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

FIXTURES = Path(__file__).parent.parent / "fixtures" / "ipruning"


def arrays(name: str) -> dict[str, Tensor]:
    """The numeric arrays of one stored .npz file; text arrays are left out."""
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as stored:
        return {
            key: torch.from_numpy(np.atleast_1d(stored[key]))
            for key in stored.files
            if stored[key].dtype.kind != "U"
        }


def names(file: str, key: str) -> list[str]:
    """One stored text array."""
    with np.load(FIXTURES / f"{file}.npz", allow_pickle=False) as stored:
        return [str(text) for text in stored[key]]


class TinyNet(nn.Module):
    """Stem and two basic blocks 12, 14 wide, or three bottlenecks, with torchvision's names.

    Its random weights are the same every time.
    """

    def __init__(self, bottleneck: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._build(bottleneck)

    def _build(self, bottleneck: bool) -> None:
        self.conv1 = nn.Conv2d(12, 12, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.relu = nn.ReLU(inplace=True)
        if bottleneck:
            self.layer1 = nn.Sequential(
                Bottleneck(12, 5, downsample=shortcut(12, 20)), Bottleneck(20, 5)
            )
            self.layer2 = nn.Sequential(Bottleneck(20, 6, 2, shortcut(20, 24, 2)))
        else:
            self.layer1 = nn.Sequential(BasicBlock(12, 12))
            self.layer2 = nn.Sequential(BasicBlock(12, 14, 2, shortcut(12, 14, 2)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(24 if bottleneck else 14, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = self.relu(self.bn1(self.conv1(images)))
        features = self.layer2(self.layer1(features))
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits


def shortcut(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


def stored_tinynet() -> TinyNet:
    """The network of tinynet_ipruning.npz with its initial weights and fresh statistics."""
    model = TinyNet()
    weights = {k[2:]: v for k, v in arrays("tinynet_ipruning").items() if k.startswith("w|")}
    counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    model.load_state_dict(counters | {k: v.clone() for k, v in weights.items()})
    return model


def lived_in(model: nn.Module, seed: int = 0) -> nn.Module:
    """`model` with batch norms as after training: no scale, shift or statistic is trivial."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.5, generator=generator)
                module.running_mean.normal_(0, 0.2, generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
    return model
