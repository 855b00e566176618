"""Name -> network: torchvision and timm where they have it, own architectures otherwise.

Own names are looked up first, which keeps start-up light and changes nothing: they are disjoint
from those of torchvision and timm, and a test guards it. Torch is imported when one is built.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.errors import RegistryError
from harness.models.architectures import Architecture, own_names, registered
from harness.models.model_names import parse_model_name
from harness.models.own_code import build_own_code, own_code

if TYPE_CHECKING:
    from torch import nn

TIMM_PREFIX = "timm/"
DEFAULT_INPUT_SIZE = 224


def build(
    name: str, num_classes: int | None = None, in_channels: int | None = None, **options: object
) -> nn.Module:
    """A freshly initialised network, in train mode, on torch's default device.

    name: see `model_names`; code of one's own has to be imported by `import_typed` before.
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
    named = parse_model_name(name).with_arguments(options)
    code = own_code(named.base)
    if code is not None:
        shape = {"num_classes": num_classes, "in_channels": in_channels}
        return build_own_code(name, code, {**shape, **named.arguments})
    make, options = _builder(named.base), dict(named.arguments)
    try:
        return make(num_classes, in_channels, **options)
    except (TypeError, ValueError, AssertionError) as error:
        if not options:
            raise
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise RegistryError(
            f"model {named.base!r} cannot be built with {given}: {error}; leave out or rename the "
            "option"
        ) from error


def input_size(name: str) -> int:
    """Pixels per side of the square images `name` was designed for.

    Own nets state it; torchvision and timm models have it in the metadata of their first
    published weights, 224 where there are none. Raises RegistryError for an unknown name.
    """
    name = parse_model_name(name).base
    if own_code(name) is not None:
        msg = (
            f"model {name!r} does not say which pictures it reads. Name a data set: --dataset NAME"
        )
        raise RegistryError(msg)
    own = registered(name)
    if own is not None:
        return own.format.input_size
    if _in_torchvision(name):
        return _torchvision_input_size(name)
    timm_name = _timm_name(name)
    if timm_name is not None:
        import timm

        config = timm.get_pretrained_cfg(timm_name)
        return int(config.input_size[-1]) if config else DEFAULT_INPUT_SIZE
    raise _unknown(name)


def _builder(name: str) -> Callable[..., nn.Module]:
    own = registered(name)
    if own is not None:
        return partial(_build_own, own)
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
    return own.make(num_classes=classes, in_channels=channels, **own.fixed, **options)


def _build_torchvision(
    name: str, num_classes: int | None, in_channels: int | None, **options: Any
) -> nn.Module:
    import torchvision

    from harness.models.first_conv import narrow_first_conv_

    if num_classes is not None:
        options["num_classes"] = num_classes
    with warnings.catch_warnings():
        # GoogLeNet and Inception announce another initialisation; the present one is meant.
        warnings.filterwarnings("ignore", "The default weight initialization", FutureWarning)
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
    if bare.endswith(".py"):
        return RegistryError(f"model {name!r} is a file; name the class in it, too: {name}:Class")
    near = get_close_matches(bare, [*own_names(), *_torchvision_names(), *timm.list_models()], n=4)
    nearest = f"nearest: {', '.join(dict.fromkeys(near))}" if near else "no name is close to it"
    own = ", ".join(own_names())
    return RegistryError(
        f"no model is called {name!r}; {nearest}. Known are the own names ({own}), "
        f"the classifiers of torchvision, and those of timm (also as {TIMM_PREFIX}NAME)"
    )
