"""Multiply-accumulates from fvcore's per-module conv and linear counts.

fvcore (0.1.5) counts 1 per multiply-accumulate, ignores biases and zeros in the weights, and adds
batch norm and adaptive pooling to its own total. We keep only the conv and linear entries, per
layer, on the dense network in eval mode at batch 1, without parts that a method added. Effective
MACs scale a layer's dense count by the density of the weight in use, in integers. fvcore's own
total is kept as an extra.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness import paths
from harness.profile.zeros import SparsityProfile
from harness.system import sha256_json, versions

if TYPE_CHECKING:
    from torch import nn

_KINDS = ("conv", "linear", "addmm", "matmul")


@dataclass(frozen=True, slots=True)
class DenseMacs:
    """Dense MACs of one architecture at one input size, batch 1."""

    per_layer: dict[str, int]  # layer name -> MACs; layers that never run are absent
    fvcore_total: int  # fvcore's own sum, with batch norm and pooling
    unsupported: dict[str, int]  # operators fvcore does not count -> calls

    @property
    def total(self) -> int:
        return sum(self.per_layer.values())


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One layer of the table that `bench profile` prints."""

    name: str
    kind: str
    shape: tuple[int, ...]
    total: int
    nnz: int
    macs_dense: int
    macs_effective: int

    @property
    def positions(self) -> int:
        """Output positions the weight is applied to (height * width; 1 for a classifier)."""
        return self.macs_dense // self.total


def dense_macs(model: nn.Module, input_shape: tuple[int, int, int]) -> DenseMacs:
    """Trace `model` once (eval mode, batch 1, input (C,H,W)) and count. The model is unchanged.

    The result is cached on disk by the architecture: layer names, shapes, strides, versions.
    """
    file = paths.cache_folder() / "macs" / f"{_architecture_key(model, input_shape)}.json"
    if file.exists():
        return DenseMacs(**json.loads(file.read_text()))
    counted = _trace(model, input_shape)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".{id(counted)}.part")
    part.write_text(json.dumps(asdict(counted)))
    part.replace(file)
    return counted


def layer_profiles(sparsity: SparsityProfile, dense: DenseMacs) -> tuple[LayerProfile, ...]:
    """Join sparsity and dense MACs: effective = dense MACs x nnz / total, exact integers."""
    rows = []
    for layer in sparsity.layers:
        macs = dense.per_layer.get(layer.name, 0)
        effective = macs * layer.nnz // layer.total
        rows.append(
            LayerProfile(
                layer.name, layer.kind, layer.shape, layer.total, layer.nnz, macs, effective
            )
        )
    return tuple(rows)


def total_macs(layers: Iterable[LayerProfile]) -> tuple[int, int]:
    """(dense, effective) MACs summed over layers."""
    rows = list(layers)
    return sum(x.macs_dense for x in rows), sum(x.macs_effective for x in rows)


def _architecture_key(model: nn.Module, input_shape: tuple[int, int, int]) -> str:
    # repr() of a module tree names every layer with its shape, stride, padding and groups.
    return sha256_json(
        {
            "modules": repr(model),
            "parameters": [(n, list(p.shape)) for n, p in model.named_parameters()],
            "class": f"{type(model).__module__}.{type(model).__qualname__}",
            "input": input_shape,
            "versions": {k: v for k, v in versions().items() if k in ("torch", "fvcore", "timm")},
        }
    )[:32]


def _trace(model: nn.Module, input_shape: tuple[int, int, int]) -> DenseMacs:
    import torch

    from methods.additions import own_modules, switched_off

    with warnings.catch_warnings():
        # torch.jit, which fvcore relies on, announces its own deprecation.
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    was_training = model.training
    first = next(model.parameters())
    image = torch.zeros(1, *input_shape, device=first.device, dtype=first.dtype)
    model.eval()
    try:
        with switched_off(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            analysis = FlopCountAnalysis(model, image)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            by_module: dict[str, Any] = analysis.by_module_and_operator()
            total = int(analysis.total())
            unsupported = {str(k): int(v) for k, v in analysis.unsupported_ops().items()}
    finally:
        model.train(was_training)
    layers = [n for n, m in own_modules(model) if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    counts = {n: int(sum(by_module[n].get(kind, 0) for kind in _KINDS)) for n in layers}
    return DenseMacs({n: c for n, c in counts.items() if c}, total, unsupported)
