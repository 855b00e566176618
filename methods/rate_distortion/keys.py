"""Keys under which distortion curves and allocations may be stored and found again.

Everything that changes a result is part of its key; the published program leaves most of it out
and returns the allocation of another run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from methods.rate_distortion.distortion import BATCH_SIZE, Reduction


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in order; hex, 64 characters."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def network_hash(model: nn.Module) -> str:
    """sha256 over class, layers, memory layout and state dict of `model`; hex, 64 characters.

    Weights alone do not tell a network: two shortcuts without parameters give other logits, and
    another layout rounds differently.
    """
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    layout = [value.stride() for value in model.parameters()]
    described = f"{kind}\n{model!r}\n{layout}\n{tensors_hash(model.state_dict())}"
    return hashlib.sha256(described.encode()).hexdigest()


def curve_key(
    weights_hash: str,
    calibration_hash: str,
    reduction: Reduction,
    points: int,
    *,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
    layers: Sequence[str] | None = None,
    target: float | None = None,
    solver: str | None = None,
    budget: str | None = None,
    previous: Sequence[float] | None = None,
    joint: Mapping[str, object] | None = None,
) -> str:
    """The key of curves, or with `solver` and what it was given of an allocation; 64 characters.

    weights_hash: `network_hash` of the model, so masks and normalisation statistics count;
    calibration_hash: of the images. batch_size and device ("cpu", "cuda") move curves by rounding.
    layers: an allocation depends on which layers share the budget; a curve is a layer's own.
    joint: what the joint solver was told, other than its defaults.
    """
    fields = {
        "kind": "rd-curves" if solver is None else "rd-allocation",
        "weights": weights_hash,
        "calibration": calibration_hash,
        "reduction": reduction,
        "points": points,
        "batch_size": batch_size,
        "device": device,
        "layers": None if layers is None else list(layers),
        "target": target,
        "solver": solver,
        "budget": budget,
        "previous": None if previous is None else [float(rate) for rate in previous],
        **({"joint": dict(joint)} if joint else {}),  # keys of before do not have it
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
