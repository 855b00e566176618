"""Input channels of torchvision models, whose builders offer three only."""

from __future__ import annotations

import math

import torch
from torch import nn

from harness.errors import RegistryError

RGB = 3


def narrow_first_conv_(model: nn.Module, name: str, in_channels: int) -> None:
    """None; replaces the first convolution of a fresh `model` by one that reads 1 or 2 channels.

    The first `in_channels` slices of the initial weight are kept, times sqrt(3 / in_channels), and
    so is the bias: the same distribution with the variance of the outputs unchanged, which is
    exactly the initialisation of a narrower layer wherever that depends on the fan-in.
    Raises RegistryError for more than 3 channels or a model that does not begin with an RGB
    convolution.
    """
    if in_channels > RGB:
        raise RegistryError(
            f"model {name!r} of torchvision reads 1, 2 or 3 channels, not {in_channels}; "
            f"timm's models take any number: try timm/{name}"
        )
    path, conv = next(
        ((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None)
    )
    if conv is None or conv.in_channels != RGB or conv.groups != 1:
        raise RegistryError(
            f"model {name!r} of torchvision does not begin with a convolution over 3 channels, so "
            f"it cannot be built for {in_channels}; try timm/{name}"
        )
    scale = math.sqrt(RGB / in_channels)
    conv.in_channels = in_channels
    with torch.no_grad():
        conv.weight = nn.Parameter(conv.weight[:, :in_channels] * scale)
        if conv.bias is not None:
            conv.bias.mul_(scale)
