"""Key names are those of the published files, and filled networks give the published logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from harness.models.cifar_resnet import CifarResNet
from harness.models.cifar_vgg import POOL, CifarVGG
from harness.models.mobilenetv1 import MobileNetV1
from tests.models.support import fixture_arrays, fixture_json, load_arrays, on_meta

ACDC = [
    ("resnet50", "resnet50", 1000),
    ("mobilenet", "mobilenetv1", 1000),
    ("wideresnet", "wrn28_10", 100),
    ("resnet20", "resnet20_projection", 10),
]
RTOL_LOGITS = 1e-4  # of the largest |logit|; stated with the fixture, summation order
ATOL_FTWT_LOGITS = 5e-5  # stated with the fixture


@pytest.mark.parametrize(("arch", "name", "classes"), ACDC)
def test_state_dict_equals_the_acdc_layout(arch: str, name: str, classes: int) -> None:
    state = on_meta(name, num_classes=classes).state_dict()
    layout = [[key, list(tensor.shape)] for key, tensor in state.items()]
    assert layout == fixture_json("model_layouts.json")[arch]


@pytest.mark.parametrize(("arch", "name", "classes"), ACDC)
def test_filled_network_gives_the_acdc_logits(arch: str, name: str, classes: int) -> None:
    model = on_meta(name, num_classes=classes).to_empty(device="cpu")
    model.load_state_dict({k: wave(k, i, t) for i, (k, t) in enumerate(model.state_dict().items())})
    shape = (1, 3, 224, 224) if classes == 1000 else (2, 3, 32, 32)
    flat = torch.arange(math.prod(shape), dtype=torch.float64)
    images = torch.sin(0.7 * flat + 0.25).float().reshape(shape)
    expected = torch.from_numpy(fixture_arrays("model_forward.npz")[f"logits/{arch}"])
    with torch.inference_mode():
        difference = (model(images) - expected).abs().max()
    assert difference <= RTOL_LOGITS * expected.abs().max()


def wave(key: str, position: int, tensor: torch.Tensor) -> torch.Tensor:
    """The fixture's closed-form filling of state-dict entry `position`."""
    if key.endswith("num_batches_tracked"):
        return torch.zeros_like(tensor)
    flat = torch.arange(tensor.numel(), dtype=torch.float64)
    s = torch.sin(12.9898 * flat + 0.5 * position * position + 1.0).reshape(tensor.shape)
    if key.endswith("running_var"):
        s = 1 + 0.5 * s
    elif key.endswith(("running_mean", "bias")):
        s = 0.1 * s
    elif tensor.dim() == 1:
        s = 1 + 0.2 * s
    else:
        s = math.sqrt(3 / math.prod(tensor.shape[1:])) * s
    return s.float()


def weights_in(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The backbone of a gated FTWT net: its state dict without the mask heads."""
    return {k[4:]: v for k, v in arrays.items() if k.startswith("sd::") and "Mask" not in k}


def assert_dense_logits(model: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    model.eval()
    with torch.inference_mode():
        logits = model(torch.from_numpy(arrays["x"]))
    expected = torch.from_numpy(arrays["dense_out"])
    torch.testing.assert_close(logits, expected, rtol=0, atol=ATOL_FTWT_LOGITS)


def test_avgpool_resnet_gives_the_ftwt_logits() -> None:
    arrays = fixture_arrays("net_resnet.npz")
    model = CifarResNet(8, "avgpool")
    load_arrays(model, weights_in(arrays))
    assert_dense_logits(model, arrays)


def test_vgg_gives_the_ftwt_logits() -> None:
    arrays = fixture_arrays("net_vgg.npz")
    model = CifarVGG([entry for width in (8, 12, 16, 16, 16) for entry in (width, POOL)])
    # The gated net holds conv and norm at position 2i and a pool behind; ours needs four places.
    renamed = {}
    for key, value in weights_in(arrays).items():
        part, _, rest = key.partition(".")
        if part == "features":
            index, kind, leaf = rest.split(".")
            key = f"features.{2 * int(index) + (kind == 'bn')}.{leaf}"
        renamed[key] = value
    load_arrays(model, renamed)
    assert_dense_logits(model, arrays)


def test_mobilenet_gives_the_ftwt_logits() -> None:
    arrays = fixture_arrays("net_mobilenet.npz")
    model = MobileNetV1(10, width=0.0625, stem_stride=1, pool_size=2)
    # The gated net lists depthwise and pointwise halves one after the other.
    renamed = {}
    for key, value in weights_in(arrays).items():
        part, _, rest = key.partition(".")
        if part == "model":
            index, kind, leaf = rest.split(".")
            pointwise = int(index) > 0 and int(index) % 2 == 0
            place = 3 * pointwise + (kind == "bn")
            key = f"model.{(int(index) + 1) // 2}.{place}.{leaf}"
        renamed[key] = value
    load_arrays(model, renamed)
    assert_dense_logits(model, arrays)


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_option_a_resnet_has_the_published_keys(depth: int) -> None:
    blocks = [f"layer{s}.{b}" for s in (1, 2, 3) for b in range((depth - 2) // 6)]
    parts = ("conv1", "bn1", "conv2", "bn2")
    expected = ["conv1", "bn1", *(f"{block}.{part}" for block in blocks for part in parts)]
    keys = [key.rpartition(".")[0] for key in on_meta(f"resnet{depth}").state_dict()]
    assert list(dict.fromkeys(keys)) == [*expected, "linear"]


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_cifar_form_of_an_imagenet_resnet_keeps_torchvision_keys(depth: int) -> None:
    ours = on_meta(f"resnet{depth}_cifar").state_dict()
    theirs = on_meta(f"resnet{depth}", num_classes=10).state_dict()
    different = [key for key in theirs if ours[key].shape != theirs[key].shape]
    assert list(ours) == list(theirs)
    assert different == ["conv1.weight"]


def test_vgg_convolutions_sit_where_torchvision_has_them() -> None:
    ours, theirs = on_meta("vgg16_bn_cifar"), on_meta("vgg16_bn")
    assert ours.get_submodule("features").state_dict().keys() == (
        theirs.get_submodule("features").state_dict().keys()
    )
    assert [k for k in ours.state_dict() if "features" not in k] == [
        "classifier.weight",
        "classifier.bias",
    ]


def test_squeezenet_has_the_shapes_of_torchvision_in_the_same_order() -> None:
    ours = [tuple(t.shape) for t in on_meta("squeezenet1_0_caffe").state_dict().values()]
    theirs = [tuple(t.shape) for t in on_meta("squeezenet1_0").state_dict().values()]
    assert ours == theirs


def test_densenet_widths_are_those_of_the_spec() -> None:
    model = on_meta("densenet121_cifar")
    layers = ("trans1.bn", "trans1.conv", "trans2.bn", "trans2.conv", "trans3.bn", "trans3.conv")
    widths = [model.get_submodule(layer).weight.shape[0] for layer in (*layers, "bn")]
    assert widths == [96, 48, 192, 96, 384, 192, 384]
    assert all(model.get_submodule(f"trans{i}.conv").bias is None for i in (1, 2, 3))
