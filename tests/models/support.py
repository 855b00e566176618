"""Fixtures and an independent counter for the tests of the networks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.models import build, input_size

FIXTURES = Path(__file__).parent.parent / "fixtures" / "models"


@dataclass(frozen=True)
class LayerCount:
    """One executed convolution or linear layer."""

    shape: tuple[int, ...]
    groups: int
    stride: int
    has_bias: bool
    positions: int  # outputs per channel
    macs: int


def fixture_json(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


def fixture_arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / name) as arrays:
        return dict(arrays)


def on_meta(name: str, **options: Any) -> nn.Module:
    """The network without memory or initialisation: shapes only."""
    with torch.device("meta"):
        return build(name, **options).eval()


def first_images(name: str, in_channels: int = 3, device: str = "meta") -> Tensor:
    side = input_size(name)
    return torch.zeros(1, in_channels, side, side, device=device)


def count_params(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def count_layers(model: nn.Module, images: Tensor) -> dict[str, LayerCount]:
    """Every executed layer by name: weight elements x output positions of one image."""
    counts: dict[str, LayerCount] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(layer: Any, _inputs: Any, output: Tensor) -> None:
            assert name not in counts, f"{name} ran twice"
            positions = output[0].numel() // output.shape[1]
            counts[name] = LayerCount(
                shape=tuple(layer.weight.shape),
                groups=getattr(layer, "groups", 1),
                stride=getattr(layer, "stride", (1,))[0],
                has_bias=layer.bias is not None,
                positions=positions,
                macs=layer.weight.numel() * positions,
            )

        return hook

    handles = [m.register_forward_hook(hook_for(n)) for n, m in layers_of(model).items()]
    model(images)
    for handle in handles:
        handle.remove()
    return counts


def count_macs(model: nn.Module, images: Tensor) -> int:
    return sum(layer.macs for layer in count_layers(model, images).values())


def load_arrays(model: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Strict load of published tensors; torch itself supplies batch counters they lack."""
    model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
