"""A Keras CIFAR ResNet with one block per stage (MLPerf Tiny's ResNet-8) as a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.published_formats import PublishedFormatError

_BATCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def resnet(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors under conv1, bn1, layerL.0.{conv1,bn1,conv2,bn2,shortcut}, fc; PyTorch layout.

    raw: {"config": model_config, "weights": layer -> name -> array}. Layers are named by their
    order in the graph: the stem, then pairs of 3x3 convolutions; a 1x1 convolution is the shortcut
    of the pair before it. Raises PublishedFormatError if the graph is another one.
    """
    layers = raw["config"]["config"]["layers"]
    names = _name_layers(layers)
    if set(names) != set(raw["weights"]):
        odd = sorted(set(names) ^ set(raw["weights"]))
        raise PublishedFormatError(f"weights and graph differ in {', '.join(odd[:3])}")
    state: dict[str, Tensor] = {}
    for layer, name in names.items():
        for key, array in raw["weights"][layer].items():
            leaf = _BATCH_NORM.get(key, {"kernel": "weight"}.get(key, key))
            state[f"{name}.{leaf}"] = torch.from_numpy(_to_torch_layout(array))
    return state


def _name_layers(layers: list[dict[str, Any]]) -> dict[str, str]:
    names: dict[str, str] = {}
    pairs = 0  # 3x3 convolutions after the stem
    for layer in layers:
        kind, config = layer["class_name"], layer["config"]
        if kind == "Conv2D" and not names:
            names[config["name"]] = "conv1"
        elif kind == "Conv2D" and tuple(config["kernel_size"]) == (3, 3):
            names[config["name"]] = f"layer{pairs // 2 + 1}.0.conv{pairs % 2 + 1}"
            pairs += 1
        elif kind == "Conv2D":
            names[config["name"]] = f"layer{(pairs + 1) // 2}.0.shortcut"
        elif kind == "BatchNormalization":
            names[config["name"]] = _batch_norm_name(layer, names)
        elif kind == "Dense":
            names[config["name"]] = "fc"
    if len(set(names.values())) != len(names) or "fc" not in names.values() or pairs % 2:
        raise PublishedFormatError("graph is not a ResNet with one block of two per stage")
    return names


def _batch_norm_name(layer: dict[str, Any], names: dict[str, str]) -> str:
    before = names.get(layer["inbound_nodes"][0][0][0], "")
    stem, _, leaf = before.rpartition(".")
    if not leaf.startswith("conv"):
        raise PublishedFormatError(f"{layer['config']['name']} follows no convolution")
    return f"{stem}.{leaf.replace('conv', 'bn')}".lstrip(".")


def _to_torch_layout(array: np.ndarray) -> np.ndarray:
    """(kh, kw, in, out) -> (out, in, kh, kw); (in, out) -> (out, in)."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return np.ascontiguousarray(array.transpose(axes) if axes else array)
