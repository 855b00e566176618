"""Nets, stored arrays and the plain loop that the rate-distortion tests compare with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from methods.inventory import prunable_weights

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "rd_prune"
TINY = ("tiny_a", "tiny_c")


def described(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as stored:
        return dict(stored)


class Tiny(nn.Module):
    """A stored net: convolutions each with ReLU, mean over positions, then fc."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.convs: list[str] = []
        for spec in described(name)["arch"]:
            if spec.get("type") == "linear":
                self.fc = nn.Linear(spec["cin"], spec["cout"], spec["bias"])
                continue
            conv = nn.Conv2d(
                *(spec[key] for key in ("cin", "cout", "kernel", "stride", "padding")),
                groups=spec["groups"],
                bias=spec["bias"],
            )
            self.add_module(spec["name"], conv)
            self.convs.append(spec["name"])
        stored = arrays(name)
        self.load_state_dict(
            {k.removeprefix("w/"): torch.tensor(v) for k, v in stored.items() if k[:2] == "w/"}
        )

    def forward(self, x: Tensor) -> Tensor:
        for name in self.convs:
            x = torch.relu(self.get_submodule(name)(x))
        return self.fc(x.mean((2, 3)))


def naive_curves(
    model: nn.Module,
    images: Tensor,
    rates: list[float],
    reduction: str,
    batch_size: int,
    layers: dict[str, nn.Module] | None = None,
) -> Tensor:
    """The definition, word for word: one full forward per layer and rate, weights set and reset."""
    rows = []
    with torch.no_grad():
        batches = images.split(batch_size)
        dense = [model(batch) for batch in batches]
        for layer in (layers or prunable_weights(model)).values():
            weight = layer.parameter
            original = weight.detach().clone()
            order = original.abs().flatten().argsort(stable=True)
            row = []
            for rate in rates:
                weight.view(-1)[order[: int(rate * weight.numel())]] = 0
                error = torch.cat(
                    [
                        (model(batch) - expected).double().square().mean(1)
                        for batch, expected in zip(batches, dense, strict=True)
                    ]
                )
                row.append(error.max() if reduction == "worst" else error.mean())
                weight.copy_(original)
            rows.append(torch.stack(row))
    return torch.stack(rows)
