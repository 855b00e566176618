"""EfficientNet-Lite0 in the key names of its PyTorch port -> timm's `tf_efficientnet_lite0`.

The port numbers its 16 blocks through and calls a block's norms by what they follow: `_bn0` the
expansion, `_bn1` the depthwise convolution, `_bn2` the projection. timm numbers stage and block,
and the norms in the order they run. The first block has no expansion.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from methods.published_formats import PublishedFormatError, unwrap

_STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks per stage at depth 1.0
_PLACES = tuple(f"{stage}.{i}" for stage, count in enumerate(_STAGES) for i in range(count))
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def lite0(raw: Any) -> dict[str, Tensor]:
    """The port's state dict under timm's names, every tensor as it is.

    raw: a state dict, or a dict holding one. Raises PublishedFormatError for a name that Lite0 in
    this port does not have: a squeeze-and-excite layer, a 17th block, another code's names.
    """
    return {_renamed(name): value for name, value in unwrap(raw).items()}


def _renamed(name: str) -> str:
    match name.split("."):
        case ["_blocks", number, layer, leaf] if number.isdecimal() and int(number) < len(_PLACES):
            layers = _BLOCK if int(number) else _FIRST_BLOCK
            if layer in layers:
                return f"blocks.{_PLACES[int(number)]}.{layers[layer]}.{leaf}"
        case [layer, leaf] if layer in _OUTSIDE:
            return f"{_OUTSIDE[layer]}.{leaf}"
    raise PublishedFormatError(f"{name!r} is no name of EfficientNet-Lite0")
