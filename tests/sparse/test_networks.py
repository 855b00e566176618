"""Whole networks: the compiled one equals the pruned one it was made from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import DenseNet, MobileNetV2, SqueezeNet

from harness import sparse
from harness.export import remove_channels_
from harness.models import build
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference


@pytest.mark.parametrize(
    "name",
    [
        "resnet20",
        "resnet20_projection",
        "resnet20_avgpool",
        "resnet20_keras",
        "vgg16_bn_cifar",
        "mobilenetv1_cifar_050",
    ],
)
def test_networks_for_small_images(name: str) -> None:
    model, batch = pruned(build(name), 0.1), images(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(batch)
    found = sparse.compile(model, batch, only=["direct-bag", "rows-bag", "dense"])(batch)
    assert relative_difference(found, expected) < ORDER_OF_SUMS


@pytest.mark.parametrize(("name", "side"), [("resnet18", 64), ("resnet20", 32)])
def test_networks_with_every_form_to_choose_from(name: str, side: int) -> None:
    model, batch = pruned(build(name), 0.02), images(1, 3, side, side)
    with torch.no_grad():
        expected = model(batch)
    assert (
        relative_difference(sparse.compile(model, batch, slower="keep")(batch), expected)
        < ORDER_OF_SUMS
    )


@pytest.mark.parametrize(
    ("model", "channels"),
    [
        (DenseNet(8, (2, 2), 8, num_classes=7), 3),
        (SqueezeNet("1_1", num_classes=7), 3),
        (MobileNetV2(num_classes=7, width_mult=0.25), 3),
        (build("timm/resnet10t", num_classes=7), 3),
        (build("convnet_tiny"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_with_branches_joins_and_poolings(model: nn.Module, channels: int) -> None:
    model = pruned(model, 0.2)
    batch = images(1, channels, 8, 8) if channels == 1 else images(1, channels, 64, 64)
    with torch.no_grad():
        expected = model(batch)
    found = sparse.compile(model, batch, only=["direct-bag", "rows-bag", "dense"])(batch)
    assert relative_difference(found, expected) < ORDER_OF_SUMS


class Odd(nn.Module):
    """What the runtime treats specially nowhere: reflection padding, products, slices, ceil mode,
    a norm without a convolution, a value changed in place after others have read it."""

    def __init__(self) -> None:
        super().__init__()
        self.mirror = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(8)
        self.gate = nn.Conv2d(8, 8, 1)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.clamp = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(16, 5, 3, padding="same")
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.mirror(x))
        early = x * 1.0
        x = x * torch.sigmoid(self.gate(x)) * self.scale
        x += early
        again = self.clamp(x)
        x = self.pool(torch.cat([x, again[:, :, ::1]], 1))
        return self.last(x).mean((2, 3))


def test_layers_of_unknown_kinds_run_as_they_are() -> None:
    model, batch = pruned(Odd(), 0.5), images(2, 3, 20, 20)
    with torch.no_grad():
        expected = model(batch)
    fast = sparse.compile(model, batch, slower="keep")
    assert relative_difference(fast(batch), expected) < ORDER_OF_SUMS
    assert [layer.name for layer in fast.plan.layers] == ["gate"]


class InPlace(nn.Module):
    """The shortcut reads what the activation has already changed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.second(self.relu(x))
        return y + x


def test_a_value_changed_in_place_is_read_changed() -> None:
    model, batch = pruned(InPlace(), 0.6, empty_filters=0), images(1, 3, 10, 10)
    with torch.no_grad():
        expected = model(batch)
    assert (
        relative_difference(sparse.compile(model, batch, slower="keep")(batch), expected)
        < ORDER_OF_SUMS
    )


def test_a_feature_map_as_output_is_plain_and_belongs_to_the_caller() -> None:
    model = pruned(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1)), 0.5)
    first, second = images(1, 3, 64, 64), images(1, 3, 64, 64, seed=2)
    fast = sparse.compile(model, first, slower="keep")
    kept = fast(first)
    before = kept.clone()
    fast(second)
    assert torch.equal(kept, before)
    with torch.no_grad():
        assert relative_difference(kept, model(first)) < ORDER_OF_SUMS


def test_fewer_channels_and_zeros_in_the_rest_are_one_plan() -> None:
    pytest.importorskip("torch_pruning")
    model, batch = build("resnet20"), images(2, 3, 32, 32)
    whole = convolution_shapes(model)
    remove_channels_(model, batch[:1], 0.5)
    narrow = convolution_shapes(model)
    assert sum(narrow[name][0] < whole[name][0] for name in whole) >= 9  # one in every block
    fast = sparse.compile(pruned(model, 0.1), batch, slower="keep")
    with torch.no_grad():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS
    layers = {layer.name: layer for layer in fast.plan.layers}
    assert {name: layers[name].shape for name in narrow} == narrow
    assert all(layers[name].density < 0.2 for name in narrow)


def convolution_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    convolutions = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    return {name: tuple(module.weight.shape) for name, module in convolutions}
