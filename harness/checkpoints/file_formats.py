"""Checkpoint formats by id: the containers of each, and how its names become the network's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.checkpoints import efficientnet_lite, keras_h5, safe_readers, squeezenet_net
from harness.checkpoints.sniffing import Kind, require
from harness.errors import RegistryError
from methods import published_formats as published

FTWT = "ftwt"
HEADS_PREFIX = "heads."  # of FTWT's gates, beside the backbone in a converted file of that format

_STATE_DICTS = (Kind.TORCH_ZIP, Kind.TORCH_LEGACY, Kind.SAFETENSORS, Kind.SHARDED)


@dataclass(frozen=True, slots=True)
class Format:
    """convert: names and tensors as the file has them -> those of the network, pure.

    also: globals that its files name beside the harmless ones.
    """

    kinds: tuple[Kind, ...]
    convert: Callable[[Any], dict[str, Tensor]]
    also: frozenset[str] = frozenset()


def _arrays(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Arrays already under plain names and in PyTorch layout, as tensors."""
    return {name: torch.from_numpy(array) for name, array in raw.items()}


def _ftwt(raw: Any) -> dict[str, Tensor]:
    heads = published.ftwt_heads(raw)
    return published.ftwt(raw) | {HEADS_PREFIX + name: value for name, value in heads.items()}


FORMATS: dict[str, Format] = {
    "plain": Format(_STATE_DICTS, dict),
    "safetensors": Format(_STATE_DICTS, dict),
    "acdc": Format(_STATE_DICTS, published.acdc, safe_readers.ACDC_GLOBALS),
    "str": Format(_STATE_DICTS, published.str_),
    FTWT: Format(_STATE_DICTS, _ftwt),
    "rd": Format(_STATE_DICTS, published.rd),
    "cifar-resnet": Format(_STATE_DICTS, published.cifar_resnet),
    "keras-npz": Format((Kind.NPZ,), _arrays),
    "keras-h5": Format((Kind.HDF5,), keras_h5.resnet),
    "keras-h5-chain": Format((Kind.HDF5,), keras_h5.chain),
    "masked-mlp": Format(_STATE_DICTS, published.masked_mlp),
    "squeezenet-net": Format((Kind.BINARY,), squeezenet_net.decode),
    "efficientnet-lite0": Format(_STATE_DICTS, efficientnet_lite.lite0),
}
PLAIN = ("plain", "safetensors")  # names are the network's own


def get(format_id: str) -> Format:
    """The format called `format_id`. Raises RegistryError with the known ids if there is none."""
    if format_id not in FORMATS:
        msg = (
            f"checkpoint format {format_id!r} is not known. "
            f"Use one of {', '.join(FORMATS)} in registry.yaml."
        )
        raise RegistryError(msg)
    return FORMATS[format_id]


def check_container(path: Path, format_id: str) -> Kind:
    """What the file looks like. Raises NotACheckpoint unless that is one of format `format_id`."""
    return require(path, get(format_id).kinds, format_id)


def without_heads(tensors: Mapping[str, Tensor], format_id: str) -> dict[str, Tensor]:
    """The network's own tensors: all but the gates in a file of FTWT's format."""
    if format_id != FTWT:
        return dict(tensors)
    return {name: value for name, value in tensors.items() if not name.startswith(HEADS_PREFIX)}


def heads(tensors: Mapping[str, Tensor], format_id: str) -> dict[str, Tensor]:
    """FTWT's gates: `<gated layer>.{weight,bias}`; empty for all other formats."""
    if format_id != FTWT:
        return {}
    return {
        name.removeprefix(HEADS_PREFIX): value
        for name, value in tensors.items()
        if name.startswith(HEADS_PREFIX)
    }
