"""Multiply-accumulates: of weights, layer by layer, and of activations with one another.

fvcore (0.1.5) traces the network and counts 1 per multiply-accumulate, ignoring biases and zeros
in the weights; `products` tells whose weight each product multiplies by. Counted is the dense
network in eval mode at batch 1, without parts that a method added. Effective MACs scale a layer's
dense count by the density of the weight in use, in integers; products of activations (attention)
stay apart. fvcore's own total, with batch norm and pooling, is kept as an extra.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness import paths
from harness.errors import StateWarning
from harness.profile.operations import WITHOUT_PRODUCTS, may_hide_products
from harness.profile.traced_products import ACTIVATIONS, KEYS, MIXED, UNCOUNTED, WEIGHT, Products
from harness.profile.zeros import SparsityProfile
from harness.registry import from_mapping
from harness.results import LayerCost
from harness.system import read_json, read_sealed, sha256_json, versions, write_sealed

if TYPE_CHECKING:
    from torch import nn

_COUNTING = 2  # raised when the same network would be counted differently


@dataclass(frozen=True, slots=True)
class DenseMacs:
    """Dense MACs of one architecture at one input size, batch 1."""

    per_layer: Mapping[str, int]  # weight -> MACs; weights that never run are absent
    fvcore_total: int  # fvcore's own sum, with batch norm and pooling
    unsupported: Mapping[str, int]  # operations that may hide products nobody counts -> calls
    activations: int = 0  # products of activations with one another or with tables
    mixed: Mapping[str, int] = field(
        default_factory=dict
    )  # of per_layer: by kernels mixed per image
    uncounted: Mapping[str, str] = field(default_factory=dict)  # weight without MACs -> why

    @property
    def total(self) -> int:
        """MACs of all weights."""
        return sum(self.per_layer.values())


def dense_macs(model: nn.Module, input_shape: tuple[int, int, int]) -> DenseMacs:
    """Trace `model` once (eval mode, batch 1, input (C,H,W)) and count. The model is unchanged.

    The result is cached on disk by the architecture: layer names, shapes, strides, versions.
    """
    file = paths.cache_folder() / "macs" / f"{_architecture_key(model, input_shape)}.json"
    counted = _counted_before(file)
    if counted is None:
        counted = _trace(model, input_shape)
        write_sealed(file, json.dumps(asdict(counted)).encode())
    return counted


def _counted_before(file: Path) -> DenseMacs | None:
    try:
        return from_mapping(DenseMacs, read_json(read_sealed(file)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        note = f"stored MACs {file.name} cannot be used ({error}); counted anew"
        warnings.warn(note, StateWarning, stacklevel=2)
        return None


def layer_costs(sparsity: SparsityProfile, dense: DenseMacs) -> tuple[LayerCost, ...]:
    """Join sparsity and dense MACs: effective = dense MACs x nnz / total, exact integers.

    A kernel mixed from a bank has a weight where any of the bank's kernels has one.
    """
    rows = []
    for layer in sparsity.layers:
        macs, mixed = dense.per_layer.get(layer.name, 0), dense.mixed.get(layer.name, 0)
        effective = (macs - mixed) * layer.nnz // layer.total
        if mixed:
            effective += mixed * layer.nnz_mixed // (layer.total // layer.shape[0])
        why = dense.uncounted.get(layer.name, "")
        rows.append(replace(layer, macs_dense=macs, macs_effective=effective, uncounted=why))
    return tuple(rows)


def total_macs(layers: Iterable[LayerCost]) -> tuple[int, int]:
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
            "counting": (_COUNTING, sorted(WITHOUT_PRODUCTS)),
            "input": input_shape,
            "versions": {k: v for k, v in versions().items() if k in ("torch", "fvcore", "timm")},
        }
    )[:32]


def _trace(model: nn.Module, input_shape: tuple[int, int, int]) -> DenseMacs:
    import torch

    from methods.attached_modules import switched_off

    with warnings.catch_warnings():
        # torch.jit, which fvcore relies on, announces its own deprecation.
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

    # What it does not know is a result here, not a message.
    logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
    was_training, was_fused = model.training, torch.backends.mha.get_fastpath_enabled()
    first = next(model.parameters())
    image = torch.zeros(1, *input_shape, device=first.device, dtype=first.dtype)
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)  # it hides the products of attention
    try:
        with switched_off(model), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            analysis = FlopCountAnalysis(model, image)
            products = Products(_graph_inputs(model), analysis._op_handles)
            analysis.set_op_handle(**products.handles())
            counts = analysis.by_operator()
            unsupported = analysis.unsupported_ops()
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fused)
        model.train(was_training)
    return _counted(counts, unsupported, products)


def _graph_inputs(model: nn.Module) -> dict[int, str]:
    """Place among the inputs of the traced graph -> weight; the image is at 0, state follows."""
    from methods.inventory import inventory

    names = {id(place.stored): w.name for w in inventory(model).weights for place in w.places}
    state = {id(value): None for value in model.state_dict(keep_vars=True).values()}
    return {place: names[key] for place, key in enumerate(state, 1) if key in names}


def _counted(
    counts: Mapping[str, float], unsupported: Mapping[str, int], products: Products
) -> DenseMacs:
    mixed = _named(counts, MIXED)
    per_layer = _named(counts, WEIGHT)
    per_layer = {n: per_layer.get(n, 0) + mixed.get(n, 0) for n in (*per_layer, *mixed)}
    missed = {n: kinds for n, kinds in products.readers.items() if not per_layer.get(n)}
    unknown = {k: int(n) for k, n in unsupported.items() if may_hide_products(k)}
    unread = {f"{kind} of {name}": 1 for name, kinds in missed.items() for kind in kinds}
    return DenseMacs(
        per_layer=per_layer,
        fvcore_total=int(sum(n for key, n in counts.items() if not key.startswith(KEYS))),
        unsupported={**unknown, **_named(counts, UNCOUNTED), **unread},
        activations=sum(_named(counts, ACTIVATIONS).values()),
        mixed=mixed,
        uncounted={n: _reason(kinds) for n, kinds in missed.items()},
    )


def _named(counts: Mapping[str, float], kind: str) -> dict[str, int]:
    return {k.removeprefix(kind): int(n) for k, n in counts.items() if k.startswith(kind) and n}


def _reason(readers: Sequence[str]) -> str:
    return f"read by {', '.join(readers)}, which has no count" if readers else "never runs in eval"
