"""Checkpoint formats by id: how a file is read, and how its content becomes a plain state dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.checkpoints import efficientnet_lite, keras_h5, load, squeezenet_net
from harness.checkpoints.sniffing import Kind, require
from harness.errors import KeyMismatch, NotACheckpoint, RegistryError
from methods import published_formats as published

HEADS_PREFIX = "heads."  # gates of dynamic methods, beside the backbone in the converted file

_TORCH = (Kind.TORCH_ZIP, Kind.TORCH_LEGACY)


@dataclass(frozen=True, slots=True)
class Format:
    """read: file -> content, executing nothing. convert: content -> plain names, pure."""

    kinds: tuple[Kind, ...]
    read: Callable[[Path], Any]
    convert: Callable[[Any], dict[str, Tensor]]


def _arrays(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Arrays already under plain names and in PyTorch layout, as tensors."""
    return {name: torch.from_numpy(array) for name, array in raw.items()}


def _ftwt(raw: Any) -> dict[str, Tensor]:
    heads = published.ftwt_heads(raw)
    return published.ftwt(raw) | {HEADS_PREFIX + name: value for name, value in heads.items()}


FORMATS: dict[str, Format] = {
    "plain": Format(_TORCH, load.read_torch, published.unwrap),
    "safetensors": Format((Kind.SAFETENSORS,), load.read_safetensors, published.unwrap),
    "acdc": Format(_TORCH, partial(load.read_torch, allowed=load.ACDC_GLOBALS), published.acdc),
    "str": Format(_TORCH, partial(load.read_torch, allowed=load.NUMPY_SCALARS), published.str_),
    "ftwt": Format(_TORCH, load.read_torch, _ftwt),
    "rd": Format(_TORCH, load.read_torch, published.rd),
    "keras-npz": Format((Kind.NPZ,), load.read_npz, _arrays),
    "keras-h5": Format((Kind.HDF5,), load.read_h5, keras_h5.resnet),
    "squeezenet-net": Format((Kind.BINARY,), load.read_bytes, squeezenet_net.decode),
    "efficientnet-lite0": Format(_TORCH, load.read_torch, efficientnet_lite.lite0),
}


def get(format_id: str) -> Format:
    """The format called `format_id`. Raises RegistryError with the known ids if there is none."""
    if format_id not in FORMATS:
        msg = (
            f"checkpoint format {format_id!r} is not known. "
            f"Use one of {', '.join(FORMATS)} in registry.yaml."
        )
        raise RegistryError(msg)
    return FORMATS[format_id]


def check_container(path: Path, format_id: str) -> None:
    """Raise NotACheckpoint unless the file looks like one of format `format_id`."""
    require(path, get(format_id).kinds, format_id)


def convert(path: Path, format_id: str) -> tuple[dict[str, Tensor], dict[str, int | float | str]]:
    """(plain state dict, what the file says about itself) of a checkpoint file.

    Tensors own their memory and are contiguous. Raises UnsafePickle, NotACheckpoint, KeyMismatch.
    """
    form = get(format_id)
    raw = form.read(path)
    try:
        tensors = form.convert(raw)
    except published.ShapesDiffer as error:
        raise KeyMismatch(f"{error}.") from error
    except (ValueError, KeyError, TypeError) as error:
        msg = f"file does not hold format {format_id!r}: {error}."
        raise NotACheckpoint(msg) from error
    owned = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    return owned, load.published_inside(raw)
