"""Strict loading of a plain state dict into a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.errors import KeyMismatch

if TYPE_CHECKING:
    from torch import Tensor, nn

SHOWN = 3  # names per kind of difference in a message


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], entry_id: str) -> None:
    """Copy `tensors` into `model`, all of them and nothing else.

    Batch-norm counters may be absent: files from before torch 0.4.1 lack them, and torch fills
    them in. Raises KeyMismatch, with the model untouched, if any name or shape differs.
    """
    told = misfit(model, tensors)
    if told:
        msg = f"{entry_id}: {told} Compare model and checkpoint format of the entry: bench show "
        raise KeyMismatch(f"{msg}{entry_id}")
    model.load_state_dict(dict(tensors), strict=True)


def misfit(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """One sentence on the names and shapes in which the two differ; "" if they fit."""
    wanted = model.state_dict()
    missing = [n for n in wanted if n not in tensors and not n.endswith(".num_batches_tracked")]
    unexpected = [name for name in tensors if name not in wanted]
    shapes = [
        f"{name} is {tuple(tensors[name].shape)}, the model has {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "shapes": shapes}
    told = "; ".join(_some(kind, names) for kind, names in kinds.items() if names)
    return f"checkpoint and model do not fit: {told}." if told else ""


def _some(kind: str, names: list[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{more})"
