"""What makes each own architecture differ from the network of the same name elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.models import build, input_size, own_names
from harness.models.cifar_densenet import DenseLayer
from harness.models.cifar_efficientnet import MBConv
from harness.models.cifar_resnet import SHORTCUTS, BasicBlock, CifarResNet
from harness.models.keras_resnet import TRUNCATED_STD, KerasBlock
from harness.models.wide_resnet import WideBlock, WideResNet
from tests.models.support import fixture_arrays, on_meta

TOL_FTWT = 1e-5  # stated with the fixture: max|a-b| <= 1e-5 max(1, max|b|)
ATOL_SUM = 1e-5  # order of summation in float32
RTOL_STD = (
    0.02  # sample deviation of >= 100,000 draws is within 0.4 %; a wrong fan is off by > 20 %
)


def close_to_fixture(actual: Tensor, expected: Tensor) -> bool:
    return bool((actual - expected).abs().max() <= TOL_FTWT * max(1.0, expected.abs().max()))


GRAY = (  # one channel unless told otherwise
    *("convnet_tiny", "lenet300", "lenet5caffe", "lenet5_padded", "lenet5_padded_bn"),
    *("lenet5_relu", "convnet_16_32", "convnet_16_32_bn", "convnet_gelu", "convnet_strided"),
    *("convnet_12", "convnet_16_32_valid", "convnet_32_64_valid", "mlp64_tanh"),
    *("lenet_tanh_square", "lenet_poly", *(f"lenet_poly_{level}" for level in range(50, 100, 5))),
)
PERCEPTRONS = ("lenet300", "mlp64_tanh")


@pytest.mark.parametrize("name", own_names())
def test_forward_gives_finite_logits_of_the_right_shape(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, num_classes=7)
    for module in model.modules():
        # Batch norm stays in train mode: with its initial statistics deep nets damp every signal.
        module.train(not isinstance(module, nn.Dropout))
    side, channels = input_size(name), 1 if name in GRAY else 3
    with torch.inference_mode():
        logits = model(torch.randn(2, channels, side, side))
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()
    assert not torch.equal(logits[0], logits[1])  # the answer depends on the image


def test_a_network_of_linear_layers_takes_other_numbers_of_channels() -> None:
    for name in PERCEPTRONS:
        assert on_meta(name, in_channels=4).fc1.in_features == 4 * 28 * 28


@pytest.mark.parametrize("name", [name for name in own_names() if name not in PERCEPTRONS])
def test_own_networks_take_other_numbers_of_channels(name: str) -> None:
    first = next(m for m in on_meta(name, in_channels=4).modules() if isinstance(m, nn.Conv2d))
    assert (first.in_channels, first.weight.shape[1]) == (4, 4)


def ftwt_block() -> tuple[BasicBlock, dict[str, Tensor]]:
    arrays = {k: torch.from_numpy(v) for k, v in fixture_arrays("resnet_shortcut.npz").items()}
    block = BasicBlock(4, 8, "avgpool").eval()
    state = {"conv1.weight": arrays["conv1"], "conv2.weight": arrays["conv2"]}
    for norm in ("bn1", "bn2"):
        parts = ("weight", "bias", "running_mean", "running_var")
        state |= {f"{norm}.{part}": row for part, row in zip(parts, arrays[norm], strict=True)}
    block.load_state_dict(state)
    return block, arrays


def test_avgpool_shortcut_block_equals_the_ftwt_fixture() -> None:
    block, arrays = ftwt_block()
    images = arrays["x"].requires_grad_()
    out = block(images)
    (out * arrays["cotangent"]).sum().backward()
    assert close_to_fixture(block.downsample(images), arrays["shortcut"])
    assert close_to_fixture(out, arrays["out"])
    assert close_to_fixture(images.grad, arrays["grad_x"])


def test_avgpool_shortcut_passes_no_gradient() -> None:
    images = torch.randn(1, 4, 8, 8, requires_grad=True)
    assert not SHORTCUTS["avgpool"](4, 8)(images).requires_grad


@settings(deadline=None, max_examples=25)
@given(width=st.sampled_from([2, 4, 16]), side=st.sampled_from([2, 4, 8]), seed=st.integers(0, 99))
def test_strided_shortcut_takes_every_second_pixel_between_zero_channels(
    width: int, side: int, seed: int
) -> None:
    x = torch.randn(2, width, side, side, generator=torch.Generator().manual_seed(seed))
    out = SHORTCUTS["strided"](width, 2 * width)(x)
    quarter = width // 2  # planes/4 of the 2*width planes
    assert out.shape == (2, 2 * width, side // 2, side // 2)
    for row in range(side // 2):
        for column in range(side // 2):
            middle = out[:, quarter : quarter + width, row, column]
            assert torch.equal(middle, x[:, :, 2 * row, 2 * column])
    assert not out[:, :quarter].any()
    assert not out[:, quarter + width :].any()


def test_blocks_without_change_of_shape_add_their_input() -> None:
    block = BasicBlock(4, 4, "avgpool").eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(1, 4, 8, 8)
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize("depth", [2, 18, 21, 51])
def test_depth_that_is_not_6n_plus_2_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"6n\\+2.*not {depth}"):
        CifarResNet(depth, "strided")


def test_unknown_shortcut_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'conv' is none of strided, avgpool, projection"):
        CifarResNet(20, "conv")


def test_wide_resnet_depth_that_is_not_6n_plus_4_is_refused() -> None:
    with pytest.raises(ValueError, match="6n\\+4.*not 26"):
        WideResNet(26, 10)


def test_keras_stride_2_pads_at_the_bottom_and_right_only() -> None:
    block = KerasBlock(2, 3)
    x = torch.arange(2 * 6 * 6, dtype=torch.float32).reshape(1, 2, 6, 6)
    padded = torch.zeros(2, 7, 7)
    padded[:, :6, :6] = x[0]
    out = block.conv1(block.pad(x))
    for row in range(3):
        for column in range(3):
            window = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            expected = (block.conv1.weight * window).sum((1, 2, 3)) + block.conv1.bias
            torch.testing.assert_close(out[0, :, row, column], expected, rtol=1e-5, atol=ATOL_SUM)


@pytest.mark.parametrize("name", ["resnet8_keras", "resnet20_keras"])
def test_keras_batch_norm_has_keras_numbers(name: str) -> None:
    norms = [m for m in on_meta(name).modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


def test_keras_shortcut_is_a_biased_convolution_without_norm() -> None:
    shortcut = on_meta("resnet20_keras").get_submodule("layer2.0.shortcut")
    assert isinstance(shortcut, nn.Conv2d)
    assert (shortcut.kernel_size, shortcut.stride, shortcut.padding) == ((1, 1), (2, 2), (0, 0))
    assert shortcut.bias is not None


def test_wide_resnet_has_the_stride_on_conv2_and_biases_everywhere() -> None:
    model = on_meta("wrn28_10")
    convs = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    strided = [name for name, conv in convs.items() if conv.stride == (2, 2)]
    assert strided == [f"layer{i}.0.{part}" for i in (2, 3) for part in ("conv2", "shortcut.0")]
    assert all(conv.bias is not None for conv in convs.values())


def test_wide_resnet_momentum_and_dropout() -> None:
    model = on_meta("wrn28_10")
    assert model.get_submodule("bn1").momentum == 0.9
    assert model.get_submodule("layer1.0.bn1").momentum == 0.1
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}


def test_wide_block_follows_its_formula() -> None:
    block = WideBlock(3, 5, 2, dropout=0.5).eval()
    for norm in (block.bn1, block.bn2):
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(2, 3, 8, 8)
    inner = F.conv2d(block.bn1(x).relu(), block.conv1.weight, block.conv1.bias, padding=1)
    inner = F.conv2d(
        block.bn2(inner).relu(), block.conv2.weight, block.conv2.bias, stride=2, padding=1
    )
    (side,) = block.shortcut
    raw = F.conv2d(x, side.weight, side.bias, stride=2)
    torch.testing.assert_close(block(x), inner + raw, rtol=0, atol=ATOL_SUM)


def test_dense_layer_puts_new_channels_first() -> None:
    layer = DenseLayer(6, 4).eval()
    x = torch.randn(2, 6, 5, 5)
    out = layer(x)
    assert out.shape == (2, 10, 5, 5)
    assert torch.equal(out[:, 4:], x)


def test_efficientnet_block_without_expansion_never_runs_its_first_convolution() -> None:
    block = MBConv(8, 8, expansion=1, kernel=3, stride=1)
    block(torch.randn(2, 8, 6, 6)).sum().backward()
    untouched = {name for name, p in block.named_parameters() if p.grad is None}
    assert untouched == {"conv1.weight", "bn1.weight", "bn1.bias"}


def test_efficientnet_gate_multiplies_and_skip_adds() -> None:
    block = MBConv(8, 8, expansion=6, kernel=5, stride=1).eval()
    x = torch.randn(2, 8, 6, 6)
    inner = F.silu(block.bn2(block.conv2(F.silu(block.bn1(block.conv1(x))))))
    gate = inner.mean((2, 3), keepdim=True)
    gate = torch.sigmoid(block.se.se2(F.silu(block.se.se1(gate))))
    expected = block.bn3(block.conv3(inner * gate)) + x
    assert block.se.se1.out_channels == 2  # a quarter of the 8 input channels, not of the 48
    torch.testing.assert_close(block(x), expected, rtol=0, atol=ATOL_SUM)


def test_squeezenet_scores_are_the_spatial_mean_after_relu() -> None:
    torch.manual_seed(0)
    model = build("squeezenet1_0_caffe", num_classes=5).eval()
    maps: list[Tensor] = []
    model.get_submodule("conv_final").register_forward_hook(
        lambda _m, _i, out: maps.append(out + 0)
    )
    scores = model(torch.randn(1, 3, 227, 227))
    assert maps[0].shape == (1, 5, 15, 15)  # 227 -> 111 -> 55 -> 27 -> 13, then padded by 1
    assert (maps[0] < 0).any()
    torch.testing.assert_close(scores, maps[0].clamp(min=0).mean((2, 3)), rtol=0, atol=ATOL_SUM)


def test_squeezenet_pools_round_up() -> None:
    sides: list[int] = []
    model = on_meta("squeezenet1_0_caffe")
    pool = model.get_submodule("pool")
    pool.register_forward_hook(lambda _m, _i, out: sides.append(out.shape[-1]))
    model(torch.zeros(1, 3, 224, 224, device="meta"))
    assert sides == [54, 27, 13]  # rounding down gives 54, 26, 12


@pytest.mark.parametrize("name", ["resnet18_cifar", "resnet50_cifar"])
def test_cifar_form_of_an_imagenet_resnet_keeps_the_resolution_in_the_stem(name: str) -> None:
    model = on_meta(name)
    shapes: list[torch.Size] = []
    layer = model.get_submodule("layer1")
    layer.register_forward_pre_hook(lambda _m, inputs: shapes.append(inputs[0].shape))
    model(torch.zeros(1, 3, 32, 32, device="meta"))
    assert shapes == [(1, 64, 32, 32)]


def spread(model: nn.Module, layer: str) -> float:
    return float(model.get_submodule(layer).weight.detach().std())


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        # sqrt(2 / (k*k*out)) on layers whose inputs and outputs differ
        ("vgg16_bn_cifar", "features.24", math.sqrt(2 / (9 * 512))),
        ("vgg16_bn_cifar", "features.17", math.sqrt(2 / (9 * 256))),
        ("resnet18_cifar", "layer4.0.conv1", math.sqrt(2 / (9 * 512))),
        # torch's default U(+-1/sqrt(fan_in)) has deviation 1/sqrt(3 fan_in)
        ("mobilenetv1", "model.13.3", 1 / math.sqrt(3 * 1024)),
        ("wrn28_10", "layer2.0.conv1", 1 / math.sqrt(3 * 9 * 160)),
        ("squeezenet1_0_caffe", "conv_final", 0.01),
        # kaiming_uniform has the deviation of kaiming_normal, sqrt(2 / fan_in)
        ("squeezenet1_0_caffe", "fire9.conv3x3_2", math.sqrt(2 / (9 * 64))),
    ],
)
def test_initial_spread_is_the_one_of_the_published_code(
    name: str, layer: str, expected: float
) -> None:
    torch.manual_seed(0)
    assert spread(build(name), layer) == pytest.approx(expected, rel=RTOL_STD)


@pytest.mark.parametrize(
    ("name", "fan"),
    [("resnet110", 9 * 32), ("resnet110_projection", 9 * 64), ("resnet56_avgpool", 9 * 64)],
)
def test_cifar_resnets_differ_in_the_fan_of_their_initialisation(name: str, fan: int) -> None:
    torch.manual_seed(0)
    # 18,432 draws: the sample deviation is within 1.6 % (3 sigma), the wrong fan is off by 40 %.
    rel = 0.03
    assert spread(build(name), "layer3.0.conv1") == pytest.approx(math.sqrt(2 / fan), rel=rel)


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        (
            "resnet18_cifar",
            "conv1",
            math.sqrt(2 / (9 * 64)),
        ),  # the stem that replaces torchvision's
        ("resnet20", "linear", math.sqrt(2 / 64)),
    ],
)
def test_small_layers_have_the_initial_spread_of_the_published_code(
    name: str, layer: str, expected: float
) -> None:
    torch.manual_seed(0)
    # 640 draws: the sample deviation is within 9 % (3 sigma); the wrong rule is off by > 50 %.
    assert spread(build(name), layer) == pytest.approx(expected, rel=0.1)


def test_keras_initialisation_is_a_truncated_normal_of_unit_gain() -> None:
    torch.manual_seed(0)
    conv = build("resnet20_keras").get_submodule("layer3.2.conv2")
    std = math.sqrt(2 / (9 * 64))
    assert float(conv.weight.detach().abs().max()) <= 2 * std / TRUNCATED_STD
    assert spread(conv, "") == pytest.approx(std, rel=RTOL_STD)
    assert not conv.bias.any()
