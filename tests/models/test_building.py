"""Looking networks up by name: order of sources, options, channels, refusals."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import torch
from torch import nn

from harness.errors import RegistryError
from harness.models import PictureFormat, architecture, architectures, build, input_size, own_names
from tests.models.support import on_meta


def test_import_and_listing_leave_torch_alone() -> None:
    code = (
        "import sys, harness.models as m; m.own_names();"
        "sys.exit(len({'torch', 'torchvision', 'timm'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_read_from_the_files_are_those_that_the_files_register() -> None:
    declared = architectures._declared()
    for module in set(declared.values()):
        import_module(module)
    assert {name for name in architectures._REGISTERED if ":" not in name} == set(declared)


def test_own_names_shadow_nothing_of_torchvision_or_timm() -> None:
    import timm
    import torchvision

    theirs = {*torchvision.models.list_models(), *timm.list_models()}
    assert not theirs & set(own_names())


def test_every_name_of_the_project_is_there() -> None:
    depths = (20, 32, 44, 56, 110)
    expected = {f"resnet{d}" for d in depths} | {f"resnet{d}_projection" for d in depths}
    expected |= {f"resnet{d}_cifar" for d in (18, 34, 50, 101)}
    expected |= {
        "resnet18_cifar_quarter",
        "resnet20_avgpool",
        "resnet56_avgpool",
        "vgg16_cifar",
        "vgg16_bn_cifar",
    }
    expected |= {"mobilenetv1", "mobilenetv1_cifar", "mobilenetv1_cifar_075"}
    expected |= {"mobilenetv1_cifar_050", "wrn28_10", "densenet121_cifar", "efficientnet_b0_cifar"}
    expected |= {"squeezenet1_0_caffe", "resnet20_keras", "resnet8_keras", "convnet_tiny"}
    expected |= {"lenet300", "lenet5caffe"}
    expected |= {"lenet5_rgb", "lenet5_rgb_c1_f6", "lenet_30_13", "convnet_16_32_cifar"}
    expected |= {"lenet5_padded", "lenet5_padded_bn", "lenet5_relu", "convnet_gelu"}
    expected |= {"convnet_16_32", "convnet_16_32_bn", "convnet_strided"}
    expected |= {"convnet_12", "convnet_16_32_valid", "convnet_32_64_valid", "mlp64_tanh"}
    expected |= {"lenet_tanh_square", "lenet_poly"}
    expected |= {f"lenet_poly_{level}" for level in range(50, 100, 5)}
    expected |= {f"lenet_poly_cifar_{level}" for level in range(75, 100, 5)}
    assert own_names() == sorted(expected)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet56", 32),
        ("wrn28_10", 32),
        ("mobilenetv1", 224),
        ("squeezenet1_0_caffe", 227),
        ("convnet_tiny", 8),
        ("resnet50", 224),
        ("inception_v3", 299),
        ("timm/resnet50", 224),
        ("efficientnet_lite1", 240),
    ],
)
def test_input_size(name: str, size: int) -> None:
    assert input_size(name) == size


@pytest.mark.parametrize(("name", "classes"), [("resnet20", 10), ("mobilenetv1", 1000)])
def test_default_number_of_classes_is_that_of_the_architecture(name: str, classes: int) -> None:
    model = on_meta(name)
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    assert last.out_features == classes


def test_tiny_network_reads_gray_digits_by_default() -> None:
    assert on_meta("convnet_tiny").get_submodule("conv1").in_channels == 1


def test_networks_come_in_train_mode() -> None:
    assert build("resnet20").training


def test_torchvision_wins_over_timm() -> None:
    assert type(on_meta("resnet50")).__module__.startswith("torchvision.")


def test_prefix_forces_timm() -> None:
    assert type(on_meta("timm/resnet50")).__module__.startswith("timm.")


def test_timm_serves_what_torchvision_lacks() -> None:
    model = on_meta("efficientnet_lite0", num_classes=5, in_channels=1)
    logits = model(torch.zeros(1, 1, 224, 224, device="meta"))
    assert logits.shape == (1, 5)


@pytest.mark.parametrize("name", ["resnet5O", "timm/resnet5O"])
def test_unknown_name_is_refused_with_the_nearest_ones(name: str) -> None:
    with pytest.raises(RegistryError, match=f"no model is called '{name}'; nearest: .*resnet50"):
        build(name)


def test_unknown_name_has_no_input_size() -> None:
    with pytest.raises(RegistryError, match="nearest: .*wrn28_10"):
        input_size("wrn28_1O")


def test_name_like_no_other_is_refused_without_suggestions() -> None:
    with pytest.raises(RegistryError, match="no name is close to it"):
        build("@@@@")


def test_detection_models_are_not_classifiers() -> None:
    with pytest.raises(RegistryError, match="no model is called 'fasterrcnn_resnet50_fpn'"):
        build("fasterrcnn_resnet50_fpn")


@pytest.mark.parametrize("option", ["num_classes", "in_channels"])
def test_counts_below_1_are_refused(option: str) -> None:
    with pytest.raises(RegistryError, match=f"{option} is 0; it must be at least 1"):
        build("resnet20", **{option: 0})


@pytest.mark.parametrize("name", ["resnet20", "resnet50"])
def test_option_the_architecture_lacks_is_refused(name: str) -> None:
    with pytest.raises(RegistryError, match=f"'{name}' cannot be built with colour='red'"):
        build(name, colour="red")


def test_option_that_the_name_fixes_is_refused() -> None:
    with pytest.raises(RegistryError, match="'resnet20' cannot be built with depth=32"):
        build("resnet20", depth=32)


@pytest.mark.parametrize(
    "name", ["wrn28_10", "mobilenetv1", "mobilenetv1_cifar", "efficientnet_b0_cifar"]
)
def test_dropout_is_an_option(name: str) -> None:
    rates = {m.p for m in on_meta(name, dropout=0.25).modules() if isinstance(m, nn.Dropout)}
    assert rates == {0.25}


def test_registering_a_name_twice_is_an_error_and_adds_nothing() -> None:
    before = own_names()
    with pytest.raises(RegistryError, match="'resnet20' is registered twice"):

        @architecture(architectures.CIFAR, resnet20={}, brand_new={})
        def builder(num_classes: int, in_channels: int) -> nn.Module:
            return nn.Linear(in_channels, num_classes)

    assert own_names() == before


def test_registered_builder_gets_defaults_fixed_arguments_and_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(architectures, "_REGISTERED", dict(architectures._REGISTERED))
    calls = []

    @architecture(PictureFormat(num_classes=4, input_size=6, in_channels=2), mine={"bias": False})
    def builder(num_classes: int, in_channels: int, **options: object) -> nn.Module:
        calls.append((num_classes, in_channels, options))
        return nn.Identity()

    build("mine", in_channels=5, extra=1)
    assert calls == [(4, 5, {"bias": False, "extra": 1})]
    assert input_size("mine") == 6
    assert "mine" in own_names()


def test_type_errors_inside_a_builder_are_not_blamed_on_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(architectures, "_REGISTERED", dict(architectures._REGISTERED))

    @architecture(architectures.CIFAR, broken={})
    def builder(num_classes: int, in_channels: int) -> nn.Module:
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        build("broken")


def test_same_seed_same_weights_other_seed_other_weights() -> None:
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(build("resnet20_projection").get_submodule("layer1.0.conv1").weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("in_channels", [1, 2])
def test_torchvision_model_with_fewer_channels_keeps_the_spread_of_its_outputs(
    in_channels: int,
) -> None:
    torch.manual_seed(0)
    rgb = build("alexnet").get_submodule("features.0")
    torch.manual_seed(0)
    narrow = build("alexnet", in_channels=in_channels).get_submodule("features.0")
    scale = (3 / in_channels) ** 0.5
    assert narrow.in_channels == in_channels
    assert torch.equal(narrow.weight, rgb.weight[:, :in_channels] * scale)
    assert torch.equal(narrow.bias, rgb.bias * scale)
    # torch's own default for a layer of this width is U(+-bound)
    bound = (in_channels * 11 * 11) ** -0.5
    assert float(narrow.weight.detach().abs().max()) == pytest.approx(bound, rel=1e-3)


def test_narrowed_first_convolution_trains_and_loads_strictly() -> None:
    model = build("squeezenet1_1", num_classes=3, in_channels=1)
    model(torch.randn(1, 1, 64, 64)).sum().backward()
    assert model.get_submodule("features.0").weight.grad.shape == (64, 1, 3, 3)
    assert model.get_submodule("features.0").weight.is_leaf
    other = build("squeezenet1_1", num_classes=3, in_channels=1)
    other.load_state_dict(model.state_dict())


def test_torchvision_model_with_more_than_3_channels_is_refused_with_a_way_out() -> None:
    with pytest.raises(RegistryError, match="'resnet18'.* 1, 2 or 3 channels, not 4; .*timm/resn"):
        build("resnet18", in_channels=4)
