"""Checkpoints in the layout of the paper's code, read and written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from methods.ftwt.gates import CHILD, gates_of

Layout = Literal["vgg", "resnet", "mobilenet"]

HEAD = "mask.model.1Conv2dMask"
PREFIX = "module."  # left by DataParallel on every key of the paper's files
_PACKED = re.compile(r"(features|model)\.(\d+)\.(conv|bn|mask)\.(.+)")
_LAYOUT_OF: dict[str, Layout] = {"features": "vgg", "layer1": "resnet", "model": "mobilenet"}
_BESIDE = re.compile(r"(.*)masked_(conv\d?)\.(.+)")


@dataclass(frozen=True, slots=True)
class PaperState:
    """A gated file under plain names.

    backbone: torchvision-like state dict. heads: convolution -> (weight (F,C*d*d), bias (F)).
    """

    backbone: dict[str, Tensor]
    heads: dict[str, tuple[Tensor, Tensor]]


def from_paper(raw: Mapping[str, Any]) -> PaperState:
    """The tensors of a gated or baseline file (safely unpickled) under plain names.

    Takes the dict that the paper's code saves or its bare state dict. A baseline file has no
    heads. Raises ValueError if it is neither layout or a head lacks its weight or bias.
    """
    state = _state_dict(raw)
    if any(_BESIDE.fullmatch(key) for key in state):
        return _from_resnet(state)
    if any(_PACKED.fullmatch(key) for key in state):
        return _from_packed(state)
    return PaperState(dict(state), {})


def backbone_from_paper(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Plain state dict of the backbone in a gated or baseline file."""
    return from_paper(raw).backbone


def load_heads(model: nn.Module, parts: Mapping[str, Tensor]) -> None:
    """Copy heads `<convolution>.{weight,bias}` into the gates of `model`; every one must fit.

    Raises ValueError naming heads that are missing, left over, or of another shape.
    """
    wanted = _fitting(model, list(dict.fromkeys(key.rpartition(".")[0] for key in parts)))
    leaves = ("weight", "bias")
    state = {
        f"{i}.{leaf}": parts[f"{conv}.{leaf}"] for i, conv in enumerate(wanted) for leaf in leaves
    }
    try:
        gates_of(model).load_state_dict(state)
    except RuntimeError as error:
        msg = f"{error}. Heads of another size come from another `embedding` setting"
        raise ValueError(msg) from error


def layout_of(model: nn.Module) -> Layout:
    """The layout that the paper's code has for a network like `model`, by its top-level names."""
    for child, layout in _LAYOUT_OF.items():
        if hasattr(model, child):
            return layout
    msg = (
        f"the paper's code has no layout for {type(model).__name__}: its networks are VGG, CIFAR "
        "ResNets and MobileNetV1"
    )
    raise ValueError(msg)


def export_paper_layout(model: nn.Module, layout: Layout) -> dict[str, Tensor]:
    """State dict of a gated model under the names of the paper's code, `module.` included.

    Put it under "state_dict", beside "epoch", "acc", "best_acc" and "optimizers", for a file that
    the paper's code reads. Raises ValueError if a convolution that the layout gates has no gate.
    """
    gates = gates_of(model)
    plain = {k: v for k, v in model.state_dict().items() if not k.startswith(f"{CHILD}.")}
    out: dict[str, Tensor] = {}
    places = _places(model, layout)
    gated = {layer.conv: (layer.bn, gate) for layer, gate in zip(gates.layers, gates, strict=True)}
    if set(places) != set(gated):
        odd = sorted(set(places) ^ set(gated))
        msg = (
            f"the {layout} layout gates every listed convolution; it differs from here in {odd[:4]}"
        )
        raise ValueError(msg)
    for conv, place in places.items():
        bn, gate = gated[conv]
        for module, part in ((conv, "conv"), (bn, "bn")):
            for key in [k for k in plain if module and k.startswith(f"{module}.")]:
                value = plain[key] if layout == "resnet" else plain.pop(key)
                out[f"{PREFIX}{place}.{part}{key[len(str(module)) :]}"] = value
        shape = (gate.out_features, -1, 1, 1)
        out[f"{PREFIX}{place}.{HEAD}.weight"] = gate.weight.detach().reshape(shape)
        out[f"{PREFIX}{place}.{HEAD}.bias"] = gate.bias.detach()
    return out | {PREFIX + key: value for key, value in plain.items()}


def _fitting(model: nn.Module, heads: list[str]) -> list[str]:
    """The gated convolutions of `model` in order, if they are those of the file, `heads`."""
    wanted = [layer.conv for layer in gates_of(model).layers]
    missing = [conv for conv in wanted if conv not in heads]
    extra = [conv for conv in heads if conv not in wanted]
    if missing or extra:
        msg = (
            f"heads do not fit the model: missing for {missing[:4]}, left over for {extra[:4]} "
            f"({len(heads)} in the file, {len(wanted)} gates); a baseline file has none, "
            "load it before the gates are attached"
        )
        raise ValueError(msg)
    return wanted


def _state_dict(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    state = raw.get("state_dict", raw)
    odd = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        msg = f"not an FTWT checkpoint: {odd[:4]} hold no tensors and there is no 'state_dict'"
        raise ValueError(msg)
    return {key.removeprefix(PREFIX): value for key, value in state.items()}


def _from_resnet(state: Mapping[str, Tensor]) -> PaperState:
    """Gates stand beside the originals, so everything in them but the heads is a second copy."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = _BESIDE.fullmatch(key)
        if match and match[3].startswith(f"{HEAD}."):
            conv = match[1] + (match[2] if match[1] else "conv1")  # the stem's gate has no number
            parts.setdefault(conv, {})[match[3].rpartition(".")[2]] = value
    backbone = {key: value for key, value in state.items() if not _BESIDE.fullmatch(key)}
    return PaperState(backbone, _heads(parts))


def _from_packed(state: Mapping[str, Tensor]) -> PaperState:
    """Gates replace Conv/BN/ReLU triples in a flat list; the plain list is longer."""
    found = [m for key in state if (m := _PACKED.fullmatch(key))]
    plain = _plain_names(found[0][1], {int(m[2]) for m in found})
    backbone: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = _PACKED.fullmatch(key)
        if match is None:
            backbone[key] = value
            continue
        conv, bn = plain[int(match[2])]
        if match[3] == "mask":
            parts.setdefault(conv, {})[match[4].rpartition(".")[2]] = value
        else:
            backbone[f"{conv if match[3] == 'conv' else bn}.{match[4]}"] = value
    return PaperState(backbone, _heads(parts))


def _plain_names(container: str, positions: set[int]) -> dict[int, tuple[str, str]]:
    """Position in the paper's list -> plain (convolution, batch norm) names.

    `features` (VGG): a position without a gate is a pool, one module; a gate is three.
    `model` (MobileNet): stem, then depthwise and pointwise halves of each block.
    """
    if container == "model":
        slots = {p: ((p + 1) // 2, 3 if p and p % 2 == 0 else 0) for p in positions}
        return {p: (f"model.{b}.{i}", f"model.{b}.{i + 1}") for p, (b, i) in slots.items()}
    names, index = {}, 0
    for position in range(max(positions) + 1):
        if position in positions:
            names[position] = (f"features.{index}", f"features.{index + 1}")
        index += 3 if position in positions else 1
    return names


def _heads(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
    for conv, part in parts.items():
        if set(part) != {"weight", "bias"}:
            msg = f"head of {conv} holds {sorted(part)}, not bias and weight; the file is damaged"
            raise ValueError(msg)
    return {conv: (part["weight"].flatten(1), part["bias"]) for conv, part in parts.items()}


def _places(model: nn.Module, layout: Layout) -> dict[str, str]:
    """Convolution -> prefix of its gate in the paper's file."""
    convs = [layer.conv for layer in gates_of(model).layers]
    if layout == "resnet":
        return {
            conv: f"{parent}{dot}masked_{name if parent else 'conv'}"
            for conv in convs
            for parent, dot, name in [conv.rpartition(".")]
        }
    if layout == "mobilenet":
        named = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
        return {conv: f"model.{position}" for position, conv in enumerate(named)}
    places, position = {}, 0
    for name, module in model.get_submodule("features").named_children():
        if isinstance(module, nn.Conv2d):
            places[f"features.{name}"] = f"features.{position}"
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            position += 1
    return places
