"""Which layers are gated, read from real networks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from methods.ftwt import FTWT, FTWTSettings
from methods.ftwt.layers import GatedLayer, describe, select
from tests.methods.ftwt_fixtures import small_net


def test_vgg_gates_every_triple_in_order() -> None:
    layers = describe(small_net("vgg"))
    assert [layer.conv for layer in layers] == [f"features.{i}" for i in (0, 4, 8, 12, 16)]
    assert [layer.bn for layer in layers] == [f"features.{i}" for i in (1, 5, 9, 13, 17)]
    assert [layer.act for layer in layers] == ["relu"] * 5
    assert [layer.narrowed for layer in layers] == [False, True, True, True, True]


def test_residual_blocks_refill_the_input_of_their_first_convolution() -> None:
    layers = describe(small_net("resnet"))
    assert layers == (
        GatedLayer("conv1", "bn1"),
        GatedLayer("layer1.0.conv1", "layer1.0.bn1", previous="conv1", narrowed=True),
        GatedLayer(
            "layer1.0.conv2",
            "layer1.0.bn2",
            act="identity",
            previous="layer1.0.conv1",
            narrowed=True,
        ),
        GatedLayer("layer2.0.conv1", "layer2.0.bn1", previous="layer1.0.conv2"),
        GatedLayer(
            "layer2.0.conv2",
            "layer2.0.bn2",
            act="identity",
            previous="layer2.0.conv1",
            narrowed=True,
        ),
        GatedLayer("layer3.0.conv1", "layer3.0.bn1", previous="layer2.0.conv2"),
        GatedLayer(
            "layer3.0.conv2",
            "layer3.0.bn2",
            act="identity",
            previous="layer3.0.conv1",
            narrowed=True,
        ),
    )


def test_masks_behind_the_block_narrow_the_next_one() -> None:
    layers = {layer.conv: layer for layer in describe(small_net("resnet"), after_block=True)}
    second = layers["layer2.0.conv2"]
    assert (second.block, second.act, second.output) == ("layer2.0", "identity", "layer2.0")
    assert layers["layer3.0.conv1"].narrowed
    assert layers["layer3.0.conv1"].previous == "layer2.0.conv2"


@pytest.mark.parametrize(("name", "gates"), [("resnet18", 17), ("resnet34", 33)])
def test_torchvision_resnets_leave_their_downsampling_ungated(name: str, gates: int) -> None:
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    layers = describe(model)
    assert len(layers) == gates
    assert not any("downsample" in layer.conv for layer in layers)
    assert [layer.conv for layer in layers if not layer.narrowed] == [
        "conv1",
        *(f"layer{s}.{b}.conv1" for s, b in BLOCKS[name] if (s, b) != (1, 0)),
    ]


BLOCKS = {
    "resnet18": [(s, b) for s in (1, 2, 3, 4) for b in range(2)],
    "resnet34": [(s, b) for s, n in zip((1, 2, 3, 4), (3, 4, 6, 3), strict=True) for b in range(n)],
}


def test_mobilenet_gates_depthwise_and_pointwise() -> None:
    layers = describe(small_net("mobilenet"))
    assert len(layers) == 27
    assert [layer.conv for layer in layers[:4]] == [
        *("model.0.0", "model.1.0", "model.1.3", "model.2.0"),
    ]
    assert all(layer.narrowed for layer in layers[1:])


def test_relu6_and_linear_bottlenecks_are_told_apart() -> None:
    with torch.device("meta"):
        model = torchvision.models.mobilenet_v2()
    layers = describe(model)
    assert [layer.act for layer in layers[:4]] == ["relu6", "relu6", "identity", "relu6"]
    assert len(layers) == 52


class Functional(nn.Module):
    """Functional activations, and a plain convolution at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.max_pool2d(torch.relu(self.b(F.relu(self.a(x)))), 2))


def test_functional_relu_without_batch_norm_is_found() -> None:
    assert describe(Functional()) == (
        GatedLayer("a"),
        GatedLayer("b", previous="a", narrowed=True),
    )


class Concatenated(nn.Module):
    """Two gated branches side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.c(torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)))


def test_concatenation_counts_as_full_input() -> None:
    assert describe(Concatenated())[2] == GatedLayer("c")


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)) if x.sum() > 0 else x


def test_untraceable_model_asks_for_descriptions_and_takes_them() -> None:
    model = Branching()
    with pytest.raises(ValueError, match="written by hand"):
        describe(model)
    from methods.base import Schedule

    method = FTWT(FTWTSettings(), layers=(GatedLayer("conv"),))
    method.attach(model, Schedule(1, 1))
    assert model(torch.rand(2, 3, 4, 4)).shape == (2, 4, 4, 4)
    assert method.gates.active().shape == (2, 1)


def test_model_without_activated_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing can be gated"):
        describe(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()))


def test_patterns_that_match_nothing_are_refused() -> None:
    layers = describe(small_net("vgg"))
    with pytest.raises(ValueError, match="'conv9' matches no gated convolution"):
        select(layers, include=["conv9"])
    with pytest.raises(ValueError, match="leave none of 5"):
        select(layers, exclude=["features.*"])
