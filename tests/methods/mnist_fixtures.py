"""Stored cases of the MNIST papers, from a NumPy program of its own, and their networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent.parent / "fixtures" / "mnist"


@cache
def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as found:
        return dict(found)


def case(file: str, name: str) -> dict[str, Any]:
    """The arrays of one case, its name cut off."""
    return {k.split("/", 1)[1]: v for k, v in arrays(file).items() if k.startswith(f"{name}/")}


def counts() -> Any:
    return json.loads((FOLDER / "counts.json").read_text())


def tensor_names(found: Mapping[str, Any], prefix: str = "") -> list[str]:
    """w1, w2, ..., then b1, b2, ...: the fixtures' order of one flat vector."""
    layers = sum(f"{prefix}w{i}" in found for i in range(1, 9))
    return [f"{kind}{i}" for kind in "wb" for i in range(1, layers + 1)]


def network(found: Mapping[str, Any], prefix: str = "") -> nn.Sequential:
    """Linear layers with ReLU between, convolutions with pooling and no ReLU; float64."""
    steps: list[nn.Module] = []
    names = [name for name in tensor_names(found, prefix) if name[0] == "w"]
    for name in names:
        shape = found[prefix + name].shape
        if len(shape) == 4:
            steps += [nn.Conv2d(shape[1], shape[0], shape[2]), nn.MaxPool2d(2)]
            continue
        steps += [] if any(isinstance(s, nn.Linear) for s in steps) else [nn.Flatten()]
        steps += [nn.Linear(shape[1], shape[0])]
        steps += [] if name == names[-1] else [nn.ReLU()]
    model = nn.Sequential(*steps).double()
    fill_(model, [found[prefix + name] for name in tensor_names(found, prefix)])
    return model


def fill_(model: nn.Module, values: list[np.ndarray]) -> None:
    """Load weights in layer order, then biases in layer order."""
    with torch.no_grad():
        for parameter, value in zip(ordered(model), values, strict=True):
            parameter.copy_(torch.from_numpy(value))


def ordered(model: nn.Module) -> list[nn.Parameter]:
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [getattr(layer, kind) for kind in ("weight", "bias") for layer in layers]


def flat(tensors: Mapping[str, Tensor]) -> np.ndarray:
    return torch.cat([t.reshape(-1) for t in tensors.values()]).numpy()
