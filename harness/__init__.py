"""Public API: load a published pruned network, or reproduce a published number.

import harness
model = harness.load("dense-resnet20-cifar10")       # a plain torch module, eval mode
result = harness.reproduce("dense-resnet20-cifar10") # published vs measured, with a verdict
fast = harness.sparse.compile(model, example_images) # skips the zeros, same outputs, CPU
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn

    from harness.results import Result

__all__ = ["load", "reproduce", "sparse"]


def __getattr__(name: str) -> ModuleType:
    """`harness.sparse`, imported at its first use, since it needs torch."""
    if name == "sparse":
        return import_module("harness.sparse")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    entry_id: str,
    *,
    from_file: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    registries: Iterable[str | Path] = (),
) -> nn.Module:
    """The network of a registry entry with its published weights, in eval mode.

    from_file: use this file instead of the published link. data_root: where `data:` sources lie.
    registries: registry files of one's own, next to the one that comes with the code.
    Raises RegistryError for an unknown id, CheckpointError if the weights cannot be had or used.
    """
    from harness import registry
    from harness.checkpoints import load_model
    from harness.system import Options

    entry = registry.load(extra=map(Path, registries)).get(entry_id)
    options = Options(device=device, data_root=_path(data_root), from_file=_path(from_file))
    return load_model(entry, options)[0]


def reproduce(
    entry_id: str,
    *,
    from_file: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    limit: int | None = None,
    track: bool = False,
    registries: Iterable[str | Path] = (),
) -> Result:
    """Evaluate an entry's published checkpoint, judge it, save the result and return it.

    limit: evaluate only that many images (a smoke run). track: also mirror into MLflow; a problem
    there is a warning, the result is saved. Other arguments: see `load`.
    Raises RegistryError, CheckpointError, DataError or MetricError.
    """
    import warnings
    from functools import partial

    from harness import registry
    from harness.evaluation import reproduce_entry
    from harness.reports import publisher
    from harness.system import Options

    entries = registry.load(extra=map(Path, registries))
    options = Options(
        device=device, data_root=_path(data_root), from_file=_path(from_file), limit=limit
    )

    listener = publisher(partial(warnings.warn, stacklevel=3), mirrored=track)
    return reproduce_entry(entries.get(entry_id), entries, options, on_result=listener)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given).expanduser()
