"""Parameters and MACs equal the specs' tables to the digit; layer lists equal the measured ones."""

from __future__ import annotations

import csv

import pytest
import torch
from torch import nn

from tests.models.support import (
    FIXTURES,
    count_layers,
    count_macs,
    count_params,
    first_images,
    fixture_json,
    layers_of,
    on_meta,
)

# STR's classifiers are 1x1 convolutions without bias, ours are linear layers with 1000 biases.
STR_HEAD_BIAS = 1000

PUBLISHED = [
    # spec, model, classes, parameters, conv + linear MACs
    ("acdc 2.3", "resnet50", 1000, 25_557_032, 4_089_184_256),
    ("acdc 2.3", "mobilenetv1", 1000, 4_231_976, 568_740_352),
    ("acdc 2.3", "wrn28_10", 100, 36_546_980, 5_951_175_168),
    ("acdc 2.3", "resnet20_projection", 10, 272_474, 40_813_184),
    ("str 2", "resnet50", 1000, 25_556_032 + STR_HEAD_BIAS, 4_089_184_256),
    ("str 2", "resnet18", 1000, 11_688_512 + STR_HEAD_BIAS, 1_814_073_344),
    ("str 2", "mobilenetv1", 1000, 4_230_976 + STR_HEAD_BIAS, 568_740_352),
    ("rd 4", "resnet20_projection", 10, 272_474, 40_813_184),
    ("rd 4", "resnet32_projection", 10, 466_906, 69_124_736),
    ("rd 4", "vgg16_bn_cifar", 10, 14_728_266, 313_201_664),
    ("rd 4", "resnet18_cifar", 10, 11_173_962, 555_422_720),
    ("rd 4", "densenet121_cifar", 10, 1_000_618, 125_341_440),
    ("rd 4", "efficientnet_b0_cifar", 10, 3_599_686, 30_331_392),
    ("rd 4", "resnet50", 1000, 25_557_032, 4_089_184_256),
    ("rd 4", "vgg16_bn", 1000, 138_365_992, 15_470_264_320),
    ("ftwt 4", "vgg16_bn_cifar", 10, 14_728_266, 313_196_544 + 5_120),
    ("ftwt 4", "resnet56_avgpool", 10, 853_018, 125_485_056 + 640),
    ("ftwt 4", "mobilenetv1_cifar", 10, 3_217_226, 46_344_192 + 10_240),
    ("ftwt 4", "mobilenetv1_cifar_075", 10, 1_824_250, 26_500_608 + 7_680),
    ("ftwt 4", "mobilenetv1_cifar_050", 10, 823_722, 12_162_048 + 5_120),
    ("ftwt 4", "resnet18", 1000, 11_689_512, 1_813_561_344 + 512_000),
    ("ftwt 4", "resnet34", 1000, 21_797_672, 3_663_249_408 + 512_000),
    ("ftwt 4", "mobilenetv1", 1000, 4_231_976, 567_716_352 + 1_024_000),
    ("akamaster", "resnet20", 10, 269_722, 40_551_040),
    ("akamaster", "resnet32", 10, 464_154, 68_862_592),
    ("akamaster", "resnet44", 10, 658_586, 97_174_144),
    ("akamaster", "resnet56", 10, 853_018, 125_485_696),
    # Hand counts. Body of ResNet-20 with two 1x1 shortcuts; biases in every convolution.
    ("keras", "resnet20_keras", 10, 273_066, 40_813_184),
    ("keras", "resnet8_keras", 10, 78_186, 12_501_632),
    # 144 + 4,608 + 18,432 weights, 224 of batch norm, 650 of the classifier;
    # 64 positions for the first two convolutions, 16 for the third.
    ("hand", "convnet_tiny", 10, 14_458, 64 * (144 + 4_608) + 16 * 9_216 + 320),
    # Weights times positions: 576 and 64 behind the convolutions, 1 elsewhere.
    ("mnist", "lenet300", 10, 266_610, 235_200 + 30_000 + 1_000),
    ("mnist", "lenet5caffe", 10, 431_080, 576 * 500 + 64 * 25_000 + 400_000 + 5_000),
    # Every width of resnet18_cifar over 4: 697,776 weights of convolutions, 2,400 of batch
    # norm, 1,290 of the classifier; stages of 32, 16, 8 and 4 pixels a side.
    (
        "hand",
        "resnet18_cifar_quarter",
        10,
        697_776 + 2_400 + 1_290,
        1_024 * (432 + 9_216) + 256 * 32_768 + 64 * 131_072 + 16 * 524_288 + 1_280,
    ),
    # As vgg16_bn_cifar without 2 x 4,224 batch-norm parameters.
    ("hand", "vgg16_cifar", 10, 14_719_818, 313_201_664),
]

RD_NAMES = {
    "resnet20_cifar": "resnet20_projection",
    "resnet32_cifar": "resnet32_projection",
    "vgg16_cifar": "vgg16_bn_cifar",
    "resnet18_cifar": "resnet18_cifar",
    "densenet121_k12_cifar": "densenet121_cifar",
    "effnetb0_cifar": "efficientnet_b0_cifar",
    "resnet50_imagenet": "resnet50",
    "vgg16_bn_imagenet": "vgg16_bn",
}
# RD_PRUNE's ResNet-18 says `shortcut` and `linear` where torchvision says `downsample` and `fc`.
RD_RENAMED = {"resnet18_cifar": (("shortcut", "downsample"), ("linear", "fc"))}
# RD_PRUNE turns the linear layers of the ImageNet nets into convolutions of the same numbers.
RD_CONV_HEADS = {"resnet50_imagenet": "fc", "vgg16_bn_imagenet": "classifier."}


def channels_of(name: str) -> int:
    return 1 if name in ("convnet_tiny", "lenet300", "lenet5caffe") else 3


@pytest.mark.parametrize(("spec", "name", "classes", "params", "macs"), PUBLISHED)
def test_parameters_and_macs_equal_the_published_table(
    spec: str, name: str, classes: int, params: int, macs: int
) -> None:
    model = on_meta(name, num_classes=classes)
    assert count_params(model) == params
    assert count_macs(model, first_images(name, channels_of(name))) == macs


def test_resnet20_projection_with_100_classes_has_the_published_size() -> None:
    assert count_params(on_meta("resnet20_projection", num_classes=100)) == 278_324


@pytest.mark.parametrize("row", fixture_json("dense_counts.json"), ids=lambda r: r["dataset"])
def test_ipruning_counts_for_every_class_and_channel_number(row: dict[str, int]) -> None:
    name = f"{row['arch']}_cifar" if row["input"] == 32 else str(row["arch"])
    model = on_meta(name, num_classes=row["n_classes"], in_channels=row["in_channels"])
    assert count_params(model) == row["params"]
    assert count_macs(model, first_images(name, row["in_channels"])) == row["macs"]


@pytest.mark.parametrize(
    ("name", "depthwise"), [("mobilenetv1_cifar", 1_419_264), ("mobilenetv1", 17_385_984)]
)
def test_depthwise_share_of_mobilenet(name: str, depthwise: int) -> None:
    layers = count_layers(on_meta(name), first_images(name))
    assert sum(layer.macs for layer in layers.values() if layer.groups > 1) == depthwise


@pytest.mark.parametrize("rd_name", RD_NAMES)
def test_layers_equal_the_rate_distortion_table(rd_name: str) -> None:
    model = on_meta(RD_NAMES[rd_name])
    executed = count_layers(model, first_images(RD_NAMES[rd_name]))
    rows = fixture_json("layer_tables.json")[rd_name]["layers"]
    renamed = [rename(row[0], rd_name) for row in rows]
    assert list(layers_of(model)) == renamed
    head = RD_CONV_HEADS.get(rd_name)
    for name, (_, shape, groups, stride, bias, positions, macs) in zip(renamed, rows, strict=True):
        if positions is None:
            assert name not in executed
            continue
        layer = executed[name]
        assert (layer.has_bias, layer.positions, layer.macs) == (bias, positions, macs)
        if head and name.startswith(head):
            assert layer.shape == (shape[0], shape[1] * shape[2] * shape[3])
        else:
            assert (list(layer.shape), layer.groups) == (shape, groups or 1)
            assert layer.stride == (stride or 1)


def rename(layer: str, rd_name: str) -> str:
    for theirs, ours in RD_RENAMED.get(rd_name, ()):
        layer = layer.replace(theirs, ours)
    return layer


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenetv1"])
def test_layers_equal_the_str_table(name: str) -> None:
    executed = count_layers(on_meta(name), first_images(name))
    with (FIXTURES / f"str_{name}_layers.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert sorted(executed) == sorted(row["name"] for row in rows)
    for row in rows:
        layer = executed[row["name"]]
        numbers = {key: int(value) for key, value in row.items() if key != "name"}
        shape = tuple(numbers[key] for key in ("out_ch", "in_ch_per_group", "k_h", "k_w"))
        assert layer.shape == shape[: len(layer.shape)]
        assert (layer.groups, layer.stride) == (numbers["groups"], numbers["stride"])
        assert layer.positions == numbers["out_h"] * numbers["out_w"]
        assert layer.macs == numbers["dense_macs"]


# One of each kind: siblings differ in depth or width only, and tracing is slow.
KINDS = [
    *("convnet_tiny", "lenet300", "lenet5caffe"),
    *("densenet121_cifar", "efficientnet_b0_cifar", "mobilenetv1_cifar"),
    *("resnet18_cifar", "resnet20", "resnet20_avgpool", "resnet20_projection", "resnet8_keras"),
    *("squeezenet1_0_caffe", "vgg16_cifar", "vgg16_bn_cifar", "wrn28_10"),
]


@pytest.mark.parametrize("name", KINDS)
def test_hook_counter_agrees_with_fvcore(name: str) -> None:
    from fvcore.nn import FlopCountAnalysis

    # Tracing needs real tensors; what they hold does not matter.
    model = on_meta(name).to_empty(device="cpu")
    images = first_images(name, channels_of(name), device="cpu")
    analysis = FlopCountAnalysis(model, images)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    by_operator = analysis.by_operator()
    assert by_operator["conv"] + by_operator["linear"] == count_macs(model, images)


@pytest.mark.parametrize(
    ("arch", "name", "classes"),
    [("mobilenet", "mobilenetv1", 1000), ("wideresnet", "wrn28_10", 100)]
    + [("resnet20", "resnet20_projection", 10)],
)
def test_modules_that_the_acdc_flops_convention_sees(arch: str, name: str, classes: int) -> None:
    """ReLU and pooling count there only as modules, so the networks must keep them as such."""
    rows = fixture_json("code_flops.json")
    expected = next(row for row in rows if row["arch"] == arch and row["case"] == "dense")
    relu, pool, batch_norm = [], [], []

    def hook(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if isinstance(module, nn.ReLU):
            relu.append(inputs[0].numel())
        elif isinstance(module, nn.AvgPool2d):
            pool.append(int(module.kernel_size) ** 2 * output.numel())
        elif isinstance(module, nn.BatchNorm2d):
            batch_norm.append(2 * inputs[0].numel())

    model = on_meta(name, num_classes=classes)
    for module in model.modules():
        module.register_forward_hook(hook)
    model(first_images(name))
    assert sum(relu) == expected["relu"]
    assert sum(pool) == expected["pool"]
    assert sum(batch_norm) == expected["bn"]
