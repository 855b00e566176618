"""Public API: load a published pruned network, or reproduce a published number.

import harness
model = harness.load("dense-resnet20-cifar10")       # a plain torch module, eval mode
result = harness.reproduce("dense-resnet20-cifar10") # published vs measured, with a verdict
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from harness.results import Result

__all__ = ["load", "reproduce"]


def load(entry_id: str, *, from_file: Path | None = None, device: str = "cpu") -> nn.Module:
    """The network of a registry entry with its published weights, in eval mode.

    from_file: use this file instead of the published link.
    Raises RegistryError for an unknown id, CheckpointError if the weights cannot be had or used.
    """
    from harness import registry
    from harness.reproduce import Options, load_model

    entry = registry.get(entry_id)
    return load_model(entry, Options(device=device, from_file=from_file))[0]


def reproduce(
    entry_id: str,
    *,
    data_root: Path | None = None,
    device: str = "cpu",
    limit: int | None = None,
    track: bool = False,
) -> Result:
    """Evaluate an entry's published checkpoint, judge it, save the result and return it.

    limit: evaluate only that many images (a smoke run). track: also mirror into MLflow.
    Raises RegistryError, CheckpointError or DataError.
    """
    from harness import registry
    from harness.reproduce import Options, reproduce_by_evaluation
    from harness.tracking import mirror

    options = Options(device=device, data_root=data_root, limit=limit)
    result = reproduce_by_evaluation(registry.get(entry_id), registry.load(), options)
    if track:
        mirror(result)
    return result
