"""Name -> network: torchvision and timm where they have it, own architectures otherwise.

Own names are looked up first, which keeps start-up light and changes nothing: they are disjoint
from those of torchvision and timm, and a test guards it. Torch is imported when one is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import RegistryError

if TYPE_CHECKING:
    from torch import nn

TIMM_PREFIX = "timm/"
DEFAULT_INPUT_SIZE = 224

Builder = TypeVar("Builder", bound="Callable[..., nn.Module]")


@dataclass(frozen=True, slots=True)
class Format:
    """What an architecture reads and answers by default."""

    num_classes: int
    input_size: int  # pixels per side
    in_channels: int = 3


CIFAR = Format(num_classes=10, input_size=32)
IMAGENET = Format(num_classes=1000, input_size=224)
IMAGENET_CAFFE = Format(num_classes=1000, input_size=227)
DIGITS = Format(num_classes=10, input_size=8, in_channels=1)
MNIST = Format(num_classes=10, input_size=28, in_channels=1)


@dataclass(frozen=True, slots=True)
class Architecture:
    """An own network: `make(num_classes, in_channels, **fixed, **options)` and its format."""

    make: Callable[..., nn.Module]
    format: Format
    fixed: Mapping[str, object]  # what makes this name differ from its siblings


_OWN: dict[str, Architecture] = {}


def register(
    data_format: Format, /, **variants: Mapping[str, object]
) -> Callable[[Builder], Builder]:
    """A decorator that makes a builder reachable under one or more names.

    variants: name -> keyword arguments that this name fixes. The builder is called as
    builder(num_classes, in_channels, **fixed, **options).
    Raises RegistryError when a name is taken already.
    """

    def remember(builder: Builder) -> Builder:
        taken = sorted(_OWN.keys() & variants.keys())
        if taken:
            raise RegistryError(
                f"model name {', '.join(map(repr, taken))} is registered twice; two builders "
                "cannot share a name, choose another one for the second"
            )
        _OWN.update((n, Architecture(builder, data_format, fixed)) for n, fixed in variants.items())
        return builder

    return remember


def names() -> list[str]:
    """Names of the own architectures, sorted.

    Besides these, `build` takes every name of `torchvision.models.list_models(module=
    torchvision.models)`, every name of `timm.list_models()`, and `timm/NAME` for timm's version
    of a name that torchvision has too.
    """
    return sorted(_OWN)


def build(
    name: str, num_classes: int | None = None, in_channels: int | None = None, **options: object
) -> nn.Module:
    """A freshly initialised network, in train mode, on torch's default device.

    num_classes, in_channels: >= 1; None = what the architecture was designed for (10 classes for
    CIFAR nets, 1000 for ImageNet nets; 3 channels, 1 for `convnet_tiny` and the LeNets).
    options: passed to the architecture, e.g. dropout=0.0.
    Weights come from torch's global generator: seed it before the call. Nothing is downloaded.
    Raises RegistryError for an unknown name (with the nearest known ones), a count below 1, or an
    option the architecture does not have.
    """
    for what, count in (("num_classes", num_classes), ("in_channels", in_channels)):
        if count is not None and count < 1:
            raise RegistryError(f"model {name!r}: {what} is {count}; it must be at least 1")
    make = _builder(name)
    try:
        return make(num_classes, in_channels, **options)
    except TypeError as error:
        if not options:
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise RegistryError(
            f"model {name!r} cannot be built with {given}: {error}; leave out or rename the option"
        ) from error


def input_size(name: str) -> int:
    """Pixels per side of the square images `name` was designed for.

    Own nets state it; torchvision and timm models have it in the metadata of their first
    published weights, 224 where there are none. Raises RegistryError for an unknown name.
    """
    if name in _OWN:
        return _OWN[name].format.input_size
    if _in_torchvision(name):
        return _torchvision_input_size(name)
    timm_name = _timm_name(name)
    if timm_name is not None:
        import timm

        config = timm.get_pretrained_cfg(timm_name)
        return int(config.input_size[-1]) if config else DEFAULT_INPUT_SIZE
    raise _unknown(name)


def _builder(name: str) -> Callable[..., nn.Module]:
    if name in _OWN:
        return partial(_build_own, _OWN[name])
    if _in_torchvision(name):
        return partial(_build_torchvision, name)
    timm_name = _timm_name(name)
    if timm_name is not None:
        return partial(_build_timm, timm_name)
    raise _unknown(name)


def _build_own(
    own: Architecture, num_classes: int | None, in_channels: int | None, **options: object
) -> nn.Module:
    classes = own.format.num_classes if num_classes is None else num_classes
    channels = own.format.in_channels if in_channels is None else in_channels
    return own.make(classes, channels, **own.fixed, **options)


def _build_torchvision(
    name: str, num_classes: int | None, in_channels: int | None, **options: Any
) -> nn.Module:
    import torchvision

    from harness.models.first_conv import narrow_first_conv_

    if num_classes is not None:
        options["num_classes"] = num_classes
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    if in_channels not in (None, 3):
        narrow_first_conv_(model, name, in_channels)
    return model


def _build_timm(
    name: str, num_classes: int | None, in_channels: int | None, **options: Any
) -> nn.Module:
    import timm

    if num_classes is not None:
        options["num_classes"] = num_classes
    if in_channels is not None:
        options["in_chans"] = in_channels
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _torchvision_names() -> list[str]:
    import torchvision

    # Only the classifiers: detection, segmentation, video and quantized models live in submodules.
    found: list[str] = torchvision.models.list_models(module=torchvision.models)
    return found


def _in_torchvision(name: str) -> bool:
    return not name.startswith(TIMM_PREFIX) and name in _torchvision_names()


def _torchvision_input_size(name: str) -> int:
    import torchvision

    first = next(iter(torchvision.models.get_model_weights(name)), None)
    return DEFAULT_INPUT_SIZE if first is None else int(first.transforms.keywords["crop_size"])


def _timm_name(name: str) -> str | None:
    """What timm calls `name`, or None if timm does not have it."""
    import timm

    bare = name.removeprefix(TIMM_PREFIX)
    return bare if timm.is_model(bare) else None


def _unknown(name: str) -> RegistryError:
    from difflib import get_close_matches

    import timm

    bare = name.removeprefix(TIMM_PREFIX)
    near = get_close_matches(bare, [*_OWN, *_torchvision_names(), *timm.list_models()], n=4)
    nearest = f"nearest: {', '.join(dict.fromkeys(near))}" if near else "no name is close to it"
    return RegistryError(
        f"no model is called {name!r}; {nearest}. Known are the own names ({', '.join(names())}), "
        f"the classifiers of torchvision, and those of timm (also as {TIMM_PREFIX}NAME)"
    )


CIFAR_RESNET_DEPTHS = (20, 32, 44, 56, 110)


@register(
    CIFAR,
    **{f"resnet{d}": {"depth": d, "shortcut": "strided"} for d in CIFAR_RESNET_DEPTHS},
    **{
        f"resnet{d}_projection": {"depth": d, "shortcut": "projection"} for d in CIFAR_RESNET_DEPTHS
    },
    **{f"resnet{d}_avgpool": {"depth": d, "shortcut": "avgpool"} for d in (20, 56)},
)
def _cifar_resnet(num_classes: int, in_channels: int, *, depth: int, shortcut: str) -> nn.Module:
    from harness.models.cifar_resnet import CifarResNet

    return CifarResNet(depth, shortcut, num_classes, in_channels)


@register(CIFAR, **{f"resnet{d}_cifar": {"depth": d} for d in (18, 34, 50, 101)})
def _cifar_imagenet_resnet(num_classes: int, in_channels: int, *, depth: int) -> nn.Module:
    from harness.models.cifar_imagenet_resnet import cifar_imagenet_resnet

    return cifar_imagenet_resnet(depth, num_classes, in_channels)


@register(CIFAR, resnet18_cifar_quarter={"width": 16})
def _narrow_resnet18(num_classes: int, in_channels: int, *, width: int) -> nn.Module:
    from harness.models.cifar_imagenet_resnet import narrow_resnet18

    return narrow_resnet18(width, num_classes, in_channels)


@register(CIFAR, vgg16_cifar={"batch_norm": False}, vgg16_bn_cifar={"batch_norm": True})
def _cifar_vgg16(num_classes: int, in_channels: int, *, batch_norm: bool) -> nn.Module:
    from harness.models.cifar_vgg import VGG16_PLAN, CifarVGG

    return CifarVGG(VGG16_PLAN, num_classes, in_channels, batch_norm=batch_norm)


@register(IMAGENET, mobilenetv1={})
def _mobilenetv1(num_classes: int, in_channels: int, *, dropout: float = 0.0) -> nn.Module:
    from harness.models.mobilenetv1 import MobileNetV1

    return MobileNetV1(num_classes, in_channels, dropout=dropout)


@register(
    CIFAR,
    mobilenetv1_cifar={"width": 1.0},
    mobilenetv1_cifar_075={"width": 0.75},
    mobilenetv1_cifar_050={"width": 0.5},
)
def _cifar_mobilenetv1(
    num_classes: int, in_channels: int, *, width: float, dropout: float = 0.0
) -> nn.Module:
    from harness.models.mobilenetv1 import MobileNetV1

    return MobileNetV1(
        num_classes, in_channels, width=width, stem_stride=1, pool_size=2, dropout=dropout
    )


@register(CIFAR, wrn28_10={})
def _wide_resnet(num_classes: int, in_channels: int, *, dropout: float = 0.3) -> nn.Module:
    from harness.models.wide_resnet import WideResNet

    return WideResNet(28, 10, num_classes, in_channels, dropout=dropout)


@register(CIFAR, densenet121_cifar={})
def _cifar_densenet121(num_classes: int, in_channels: int) -> nn.Module:
    from harness.models.cifar_densenet import CifarDenseNet

    return CifarDenseNet((6, 12, 24, 16), 12, num_classes, in_channels)


@register(CIFAR, efficientnet_b0_cifar={})
def _cifar_efficientnet_b0(
    num_classes: int, in_channels: int, *, dropout: float = 0.2
) -> nn.Module:
    from harness.models.cifar_efficientnet import CifarEfficientNetB0

    return CifarEfficientNetB0(num_classes, in_channels, dropout=dropout)


@register(IMAGENET_CAFFE, squeezenet1_0_caffe={})
def _squeezenet_caffe(num_classes: int, in_channels: int, *, dropout: float = 0.5) -> nn.Module:
    from harness.models.squeezenet_caffe import SqueezeNetCaffe

    return SqueezeNetCaffe(num_classes, in_channels, dropout=dropout)


@register(CIFAR, resnet8_keras={"blocks": 1}, resnet20_keras={"blocks": 3})
def _keras_resnet(num_classes: int, in_channels: int, *, blocks: int) -> nn.Module:
    from harness.models.keras_resnet import KerasResNet

    return KerasResNet(blocks, num_classes, in_channels)


@register(DIGITS, convnet_tiny={})
def _convnet_tiny(num_classes: int, in_channels: int) -> nn.Module:
    from harness.models.convnet_tiny import ConvNetTiny

    return ConvNetTiny(num_classes, in_channels)


@register(MNIST, lenet300={})
def _lenet300(num_classes: int, in_channels: int) -> nn.Module:
    from harness.models.lenets import LeNet300

    return LeNet300(num_classes, in_channels)


@register(MNIST, lenet5caffe={})
def _lenet5caffe(num_classes: int, in_channels: int) -> nn.Module:
    from harness.models.lenets import LeNet5Caffe

    return LeNet5Caffe(num_classes, in_channels)
