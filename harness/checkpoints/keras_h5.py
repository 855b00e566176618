"""Keras networks as state dicts: MLPerf Tiny's ResNet-8, and those that are a chain of layers."""

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


CHAINED = {  # layers with weights -> what their place in the chain is called
    "Conv2D": "conv",
    "Dense": "fc",
    "BatchNormalization": "bn",
    "DynamicPolyActn_D2": "poly",  # a parabola with three coefficients, of MOFHEI
}
WITHOUT_WEIGHTS = frozenset(
    {"InputLayer", "Reshape", "Flatten", "Dropout", "Activation", "Square"}
    | {"MaxPooling2D", "AveragePooling2D"}
)


def chain(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors under conv1, conv2, ..., fc1, ..., bn1, ..., poly1, ...; PyTorch layout.

    raw: as for `resnet`. Numbers follow the order of the chain. Where feature maps are flattened,
    Keras lists channels last; the rows of the linear layer behind are put in PyTorch's order.
    Raises PublishedFormatError for another kind of layer or a graph that branches.
    """
    layers = raw["config"]["config"]["layers"]
    _require_chain(layers)
    counts = dict.fromkeys(CHAINED, 0)
    state: dict[str, Tensor] = {}
    channels, flattened = 0, False
    for layer in layers:
        kind, name = layer["class_name"], layer["config"]["name"]
        flattened |= kind == "Flatten"
        if kind not in CHAINED:
            continue
        counts[kind] += 1
        place = f"{CHAINED[kind]}{counts[kind]}"
        for key, array in raw["weights"].get(name, {}).items():
            if kind == "Dense" and key == "kernel" and flattened and channels:
                array = _channels_first(array, channels)
                flattened = False
            leaf = _leaf(kind, key)
            state[f"{place}.{leaf}"] = torch.from_numpy(_to_torch_layout(array))
        if kind == "Conv2D":
            channels = state[f"{place}.weight"].shape[0]
    return state


def _require_chain(layers: list[dict[str, Any]]) -> None:
    before = None
    for layer in layers:
        kind, name = layer["class_name"], layer["config"]["name"]
        if kind not in CHAINED and kind not in WITHOUT_WEIGHTS:
            raise PublishedFormatError(f"{name} is a {kind}, which is not read here")
        nodes = layer.get("inbound_nodes", ())
        sources = [source[0] for node in nodes for source in node]
        if sources and sources != [before]:
            raise PublishedFormatError(f"{name} follows {', '.join(sources)}: no chain of layers")
        before = name


def _channels_first(kernel: np.ndarray, channels: int) -> np.ndarray:
    """(rows * columns * channels, units) -> (channels * rows * columns, units)."""
    units = kernel.shape[1]
    return kernel.reshape(-1, channels, units).transpose(1, 0, 2).reshape(-1, units)


def _leaf(kind: str, key: str) -> str:
    if kind == "BatchNormalization":
        return _BATCH_NORM.get(key, key)
    kernel = "coefficients" if kind == "DynamicPolyActn_D2" else "weight"
    return kernel if key == "kernel" else key


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
