"""Layer budgets taken from another sparse network: STR's distribution for DNW and GMP.

A budget maps layer names to a rate (float, share of zeros) or to a kept count (int).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, model_validator
from torch import Tensor, nn

from methods.masked import LayerSettings, Sparsity, chosen_weights

BudgetValues = dict[str, int | float]


def from_weights(
    effective: Mapping[str, Tensor], variant: Literal["intended", "released"] = "intended"
) -> BudgetValues:
    """The budget a sparse network spends: layer name -> kept count.

    effective: weights after thresholding, under layer names or state-dict keys; entries with
    fewer than two dimensions (batch-norm, biases) are not layers and are left out, and so are
    tables under state-dict keys (positions, class tokens).
    variant "released": rates as the STR code passes them on, 1 - float32 mean of non-zeros,
    whose rounding can cost one weight.
    """
    keys = any(name.endswith("weight") for name in effective)
    layers = {
        name.removesuffix(".weight").removesuffix("_weight"): w
        for name, w in effective.items()
        if w.dim() >= 2 and (not keys or "weight" in name.rpartition(".")[2])
    }
    if not layers:
        raise ValueError("no weight with two or more dimensions to take a budget from")
    if variant == "intended":
        return {name: int(torch.count_nonzero(w)) for name, w in layers.items()}
    return {name: 1 - float((w != 0).float().mean()) for name, w in layers.items()}


def from_csv(path: str | Path, column: str | float) -> BudgetValues:
    """One column of an STR budgets file: layer name -> rate.

    column: overall sparsity in percent, as in the row `Overall`, which names the columns
    (87.7 and "87.70" are the same). Rows other than `Layer k - NAME` are skipped.
    Raises ValueError when the file or the column is not there as described.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    overall = next((row for row in rows if row and row[0] == "Overall"), None)
    if overall is None:
        raise ValueError(f"{Path(path).name}: no row 'Overall'; this is not an STR budgets file")
    models = {float(cell): index for index, cell in enumerate(overall[3:], 3) if cell}
    if float(column) not in models:
        known = ", ".join(f"{model:g}" for model in models)
        raise ValueError(f"{Path(path).name}: no column {column}; overall sparsities: {known}")
    index = models[float(column)]
    named = [(re.fullmatch(r"Layer \d+ - (\S+)", row[0]), row) for row in rows if row]
    return {match[1]: float(row[index]) / 100 for match, row in named if match}


def read(source: str) -> BudgetValues:
    """A budget named on the command line: `FILE.csv:COLUMN` or a plain-key `FILE.safetensors`."""
    table = re.fullmatch(r"(.+\.csv):([\d.]+)", source)
    if table:
        return from_csv(table[1], table[2])
    if source.endswith(".safetensors"):
        from safetensors.torch import load_file

        return from_weights(load_file(source))
    raise ValueError(
        f"budget {source!r} is neither FILE.csv:COLUMN (such as STR_Budgets_ResNet50.csv:90.23) "
        "nor FILE.safetensors"
    )


def _checked(value: object) -> object:
    budget = read(value) if isinstance(value, str) else value
    if isinstance(budget, Mapping):
        for name, share in budget.items():
            if isinstance(share, float) and not 0.0 <= share <= 1.0:
                raise ValueError(f"budget of {name}: rate {share} is not a fraction from 0 to 1")
    return budget


class BudgetSettings(LayerSettings):
    """The share of zeros: a budget per layer, one sparsity for the layers it does not name."""

    sparsity: Sparsity | None = None
    budget: Annotated[BudgetValues, BeforeValidator(_checked)] = {}  # or text for `read`

    @model_validator(mode="after")
    def _says_how_much(self) -> BudgetSettings:
        if self.sparsity is None and not self.budget:
            raise ValueError("no sparsity: set it, such as 0.9, or give a budget per layer")
        return self


def targets(model: nn.Module, settings: BudgetSettings) -> BudgetValues:
    """The final rate or kept count of every chosen layer: the budget's, else the sparsity.

    Raises ValueError for a budget layer that is not chosen, for a chosen layer without a value,
    and for a count the layer does not have.
    """
    sizes = {name: weight.numel() for name, weight in chosen_weights(model, settings).items()}
    unknown = [name for name in settings.budget if name not in sizes]
    if unknown:
        raise ValueError(
            f"budget names {unknown[0]!r}, which is no chosen layer; layers: "
            f"{', '.join(list(sizes)[:6])}, ..."
        )
    return {name: _target(name, size, settings) for name, size in sizes.items()}


def _target(name: str, size: int, settings: BudgetSettings) -> int | float:
    value = settings.budget.get(name, settings.sparsity)
    if value is None:
        raise ValueError(f"budget has no value for layer {name!r}; add one, or set sparsity")
    if isinstance(value, int) and not 0 <= value <= size:
        raise ValueError(f"budget keeps {value} weights of {name!r}, which has {size}")
    return value


def truncated_count(target: int | float, size: int) -> int:
    """Weights kept of `size`: a count as it is, a rate as size - int(rate * size)."""
    return target if isinstance(target, int) else size - int(target * size)
