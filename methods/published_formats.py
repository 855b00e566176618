"""Weights in the layouts the papers' code saves -> plain keys. Pure: tensors in, tensors out."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor

from methods.ftwt.paper_files import backbone_from_paper, from_paper

WRAPPERS = ("model_state_dict", "state_dict", "model")  # names under which files keep the weights
HEADS = ("fc", "classifier", "linear")  # last layers that some code keeps as convolutions


class PublishedFormatError(ValueError):
    """The content cannot be what the paper's code writes."""


class ShapesDiffer(PublishedFormatError):
    """Two tensors that belong together have different shapes."""


def unwrap(raw: Any) -> dict[str, Tensor]:
    """The state dict in `raw`, without the `module.` that DataParallel puts in front.

    raw: a state dict, or a dict holding one under "model_state_dict", "state_dict" or "model".
    Raises PublishedFormatError if there is none.
    """
    if not isinstance(raw, Mapping):
        raise PublishedFormatError(f"content is a {type(raw).__name__}, not a state dict")
    inside = (raw[key] for key in WRAPPERS if isinstance(raw.get(key), Mapping))
    state: Mapping[Any, Any] = next(inside, raw)
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            msg = f"state dict holds a {type(value).__name__} under {name!r}, not a tensor"
            raise PublishedFormatError(msg)
        plain[name.removeprefix("module.")] = value
    if len(plain) != len(state) or not plain:
        raise PublishedFormatError(f"state dict of {len(state)} names has {len(plain)} plain ones")
    return plain


def acdc(raw: Any) -> dict[str, Tensor]:
    """Plain state dict of an AC/DC checkpoint, masked weights exactly zero.

    Layer X is stored as X._layer.{weight,bias} beside X._weight_mask (0/1) and, if it was never
    pruned, X._bias_mask of ones, which is dropped.
    """
    state = unwrap(raw)
    plain = {
        name.replace("._layer.", "."): value
        for name, value in state.items()
        if not name.endswith(("._weight_mask", "._bias_mask"))
    }
    for name, mask in state.items():
        if name.endswith("._weight_mask"):
            weight = f"{name.removesuffix('._weight_mask')}.weight"
            plain[weight] = _masked(plain.get(weight), mask, weight)
    return plain


def str_(raw: Any) -> dict[str, Tensor]:
    """Plain state dict of an STR checkpoint, native or already converted to dense.

    Native layers hold W and a scalar s: the weight is sign(W) * relu(|W| - sigmoid(s)), in float32.
    The classifier, a 1x1 convolution without bias, becomes a linear layer with a zero bias.
    Stray `sparseWeight` copies in old files are dropped.
    """
    state = unwrap(raw)
    plain = {n: v for n, v in state.items() if not n.endswith(("sparseThreshold", "sparseWeight"))}
    for name, threshold in state.items():
        if not name.endswith("sparseThreshold"):
            continue
        weight = f"{name.removesuffix('sparseThreshold')}weight"
        if weight not in plain:
            raise PublishedFormatError(f"{name} has no weight beside it")
        plain[weight] = _soft_threshold(plain[weight], threshold, name)
    if "fc.weight" in plain:
        plain["fc.weight"] = plain["fc.weight"].flatten(1)
        plain.setdefault("fc.bias", torch.zeros(len(plain["fc.weight"])))
    return plain


def cifar_resnet(raw: Any) -> dict[str, Tensor]:
    """Plain state dict of a CIFAR ResNet whose layers have other names for the same places.

    `conv` and `bn` of the stem, `conv_1`, `stage_1` and `shortcut` become `conv1`, `bn1`, `conv1`,
    `layer1` and `downsample`.
    """
    plain = {}
    for name, value in unwrap(raw).items():
        plain_name = re.sub(r"^(conv|bn)\.", r"\g<1>1.", name)
        plain_name = re.sub(r"\b(conv|bn)_(\d)\b", r"\1\2", plain_name).replace("stage_", "layer")
        plain[plain_name.replace(".shortcut.", ".downsample.")] = value
    return plain


def masked_mlp(raw: Any) -> dict[str, Tensor]:
    """`fc1.weight`, `fc1.bias`, ... of matrices `W_0`, `b_0`, ... stored (in, out).

    `mask` is of the first matrix, which it multiplies. Raises PublishedFormatError if the names are
    others.
    """
    state = unwrap(raw)
    count = sum(name.startswith("W_") for name in state)
    pairs = {f"{leaf}_{i}" for leaf in "Wb" for i in range(count)}
    if not count or set(state) != pairs | {"mask"}:
        raise PublishedFormatError(f"{', '.join(sorted(state)[:5])}: not mask, W_0, b_0, W_1, ...")
    plain = {}
    for i in range(count):
        matrix = state[f"W_{i}"] * state["mask"] if i == 0 else state[f"W_{i}"]
        plain[f"fc{i + 1}.weight"] = matrix.T.contiguous()
        plain[f"fc{i + 1}.bias"] = state[f"b_{i}"]
    return plain


def ftwt(raw: Any) -> dict[str, Tensor]:
    """Plain backbone of an FTWT checkpoint, gated or not; the gates' heads are left out."""
    return backbone_from_paper(unwrap(raw))


def ftwt_heads(raw: Any) -> dict[str, Tensor]:
    """Heads of a gated FTWT checkpoint: `<plain name of the gated convolution>.{weight,bias}`.

    weight (F, C*d*d), bias (F,). Empty for an ungated file.
    """
    heads = from_paper(unwrap(raw)).heads
    return {
        f"{conv}.{leaf}": value
        for conv, pair in heads.items()
        for leaf, value in zip(("weight", "bias"), pair, strict=True)
    }


def pruned(state: Mapping[str, Tensor], own: Container[str] = ()) -> dict[str, Tensor]:
    """`state` with each pair of `torch.nn.utils.prune` multiplied: X_orig times X_mask is X.

    X: weight, bias, in_proj_weight, any parameter. own: names to be left alone, which are those of
    the network itself. A mask beside an X that is multiplied already is dropped. Raises
    PublishedFormatError for half a pair or a mask of other values than 0 and 1, ShapesDiffer.
    """
    plain: dict[str, Tensor] = {}
    for name, value in state.items():
        bare = name.removesuffix("_orig")
        if name == bare or name in own:
            plain[name] = value
        elif f"{bare}_mask" not in state:
            raise PublishedFormatError(f"{name} has no mask beside it")
        else:
            plain[bare] = _masked(value, state[f"{bare}_mask"], bare)
    for name in [n for n in plain if n.endswith("_mask") and n not in own]:
        bare = name.removesuffix("_mask")
        if f"{bare}_orig" in state:
            del plain[name]
        elif bare in plain:  # multiplied before it was saved
            if not torch.equal(_masked(plain[bare], plain[name], bare), plain[bare]):
                raise PublishedFormatError(f"{bare} is not zero where {name} is")
            del plain[name]
        elif bare.endswith(("weight", "bias")):
            raise PublishedFormatError(f"{name} has no weight beside it")
    return plain


def rd(raw: Any) -> dict[str, Tensor]:
    """Plain state dict of an RD_PRUNE (or LAMP) checkpoint: weight_orig times weight_mask.

    Convolutional classifiers (ResNet-50's fc, VGG's classifier) become linear layers; the CIFAR
    ResNet-18's `shortcut` and `linear` take torchvision's names `downsample` and `fc`.
    """
    plain = pruned(unwrap(raw))
    heads = {n: v.flatten(1) for n, v in plain.items() if v.ndim == 4 and n.split(".")[0] in HEADS}
    return _torchvision_names(plain | heads)


def _torchvision_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if not any(".shortcut." in name for name in state):
        return state
    return {
        re.sub(r"^linear\.", "fc.", name.replace(".shortcut.", ".downsample.")): value
        for name, value in state.items()
    }


def _masked(weight: Tensor | None, mask: Tensor, name: str) -> Tensor:
    if weight is None:
        raise PublishedFormatError(f"a mask for {name} exists, but no such weight")
    if weight.shape != mask.shape:
        msg = f"{name} has shape {tuple(weight.shape)}, its mask {tuple(mask.shape)}"
        raise ShapesDiffer(msg)
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise PublishedFormatError(f"mask of {name} has values other than 0 and 1")
    return torch.where(mask.bool(), weight, torch.zeros((), dtype=weight.dtype))


def _soft_threshold(weight: Tensor, threshold: Tensor, name: str) -> Tensor:
    if threshold.numel() != 1:
        raise ShapesDiffer(f"{name} has shape {tuple(threshold.shape)}, one number is expected")
    # float32 also for half-precision files: sigmoid(s) underflows there
    weight = weight.float()
    return weight.sign() * torch.relu(weight.abs() - torch.sigmoid(threshold.float().reshape(())))
