"""Small networks of published repositories: counts by hand, and outputs against plain functions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from harness.models import build
from harness.registry import load
from methods.published_formats import cifar_resnet

# Weights and biases of every layer, written out.
COUNTS = {
    "lenet5_rgb": 456 + 2_416 + 48_120 + 10_164 + 850,
    "lenet5_rgb_c1_f6": 456 + 2_416 + 48_120 + 10_164 + 850,
    "lenet_30_13": 840 + 3_523 + 208 * 120 + 120 + 120 * 86 + 86 + 870,
    "convnet_16_32_cifar": 448 + 4_640 + 2_048 * 128 + 128 + 1_290,
    "lenet5_padded": 156 + 2_416 + 48_120 + 10_164 + 850,
    "lenet5_padded_bn": 61_706 + 2 * (6 + 16),
    "lenet5_relu": 431_080,  # as Caffe's LeNet-5
    "convnet_16_32": 160 + 4_640 + 1_568 * 128 + 128 + 1_290,
    "convnet_16_32_bn": 206_922 + 2 * (16 + 32),
    "convnet_12": 120 + 20_290,
    "convnet_16_32_valid": 160 + 4_640 + 8_010,
    "convnet_32_64_valid": 320 + 18_496 + 16_010,
    "mlp64_tanh": 784 * 64 + 64 + 650,
    "lenet_tanh_square": 61_706,
    "lenet_poly": 61_706 + 9,
    "lenet_poly_cifar_95": 76 + 208 + 5_226 + 837 + 320 + 9,
    "convnet_gelu": 260 + 5_020 + 16_050 + 510,
    "convnet_strided": 272 + 8_224 + 156_900 + 1_010,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_are_those_counted_by_hand(name: str) -> None:
    assert sum(p.numel() for p in build(name).parameters()) == COUNTS[name]


def test_the_strided_network_is_four_layers_and_relu() -> None:
    torch.manual_seed(0)
    model, x = build("convnet_strided"), torch.randn(3, 1, 28, 28)
    w = model.state_dict()
    y = x
    for key in ("0", "2"):
        y = F.relu(F.conv2d(y, w[f"{key}.weight"], w[f"{key}.bias"], stride=2, padding=1))
    y = F.relu(F.linear(y.flatten(1), w["5.weight"], w["5.bias"]))
    torch.testing.assert_close(model(x), F.linear(y, w["7.weight"], w["7.bias"]))


def test_the_polynomial_lenet_is_five_layers_and_parabolas() -> None:
    torch.manual_seed(0)
    model, images = build("lenet_poly"), torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("coefficients"):
                value.copy_(torch.tensor([0.5, -1.0, 2.0]))
    w = model.state_dict()
    y = torch.zeros(3, 1, 32, 32)
    y[:, :, 2:30, 2:30] = images
    for i in "123":
        y = F.conv2d(y, w[f"conv{i}.weight"], w[f"conv{i}.bias"])
        y = 0.5 - y + 2 * y**2  # the square of a mean is not the mean of squares
        y = y if i == "3" else F.avg_pool2d(y, 2)
    y = F.linear(y.flatten(1), w["fc1.weight"], w["fc1.bias"]) ** 2
    torch.testing.assert_close(model(images), F.linear(y, w["fc2.weight"], w["fc2.bias"]))


def test_gelu_comes_after_pooling() -> None:
    """It is not monotone, so pooling after it would give other numbers."""
    torch.manual_seed(0)
    model, x = build("convnet_gelu"), 3 * torch.randn(3, 1, 28, 28)
    w = model.state_dict()
    y = x
    for key in ("conv1", "conv2"):
        y = F.max_pool2d(F.conv2d(y, w[f"{key}.weight"], w[f"{key}.bias"]), 2)
        y = y * torch.sigmoid(1.702 * y)
    y = F.linear(y.flatten(1), w["fc1.weight"], w["fc1.bias"])
    y = y * torch.sigmoid(1.702 * y)
    torch.testing.assert_close(model(x), F.linear(y, w["fc2.weight"], w["fc2.bias"]))


def test_batch_norm_comes_before_relu_and_pooling() -> None:
    torch.manual_seed(0)
    model, x = build("convnet_16_32_bn").eval(), torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2.0)
    w = model.state_dict()
    y = x
    for i in "12":
        y = F.conv2d(y, w[f"conv{i}.weight"], w[f"conv{i}.bias"], padding=1)
        stats = (f"bn{i}.running_mean", f"bn{i}.running_var", f"bn{i}.weight", f"bn{i}.bias")
        y = F.max_pool2d(F.relu(F.batch_norm(y, *(w[name] for name in stats))), 2)
    y = F.relu(F.linear(y.flatten(1), w["fc1.weight"], w["fc1.bias"]))
    torch.testing.assert_close(model(x), F.linear(y, w["fc2.weight"], w["fc2.bias"]))


@pytest.mark.parametrize(
    ("model", "respell"),
    [
        ("resnet20", lambda n: n.replace("conv1", "conv", 1) if n.startswith("conv1") else n),
        ("resnet20_projection", lambda n: n.replace("downsample", "shortcut")),
        (
            "resnet20_projection",
            lambda n: n.replace("layer", "stage_").replace("conv", "conv_").replace("bn", "bn_"),
        ),
    ],
)
def test_other_names_of_a_cifar_resnet_become_ours(model: str, respell: object) -> None:
    state = build(model).state_dict()
    assert callable(respell)
    respelled = {respell(name): value for name, value in state.items()}
    assert respelled.keys() != state.keys()
    assert cifar_resnet(respelled).keys() == state.keys()


def test_small_files_in_git_are_pinned_to_a_commit_and_a_hash() -> None:
    registry = load()
    papers = {key for key, paper in registry.papers.items() if paper.venue == "GitHub repository"}
    rows = [entry for entry in registry.entries.values() if entry.paper in papers]
    assert len(papers) == 20
    assert len(rows) == 68
    for entry in rows:
        assert entry.checkpoint is not None
        (source,) = entry.checkpoint.sources
        host, owner, name, commit, *_ = source.removeprefix("https://").split("/")
        assert (host, len(commit)) == ("raw.githubusercontent.com", 40)
        assert registry.papers[entry.paper].code == f"https://github.com/{owner}/{name}"
        assert entry.checkpoint.sha256 is not None
        assert entry.checkpoint.size_bytes is not None
