"""Every published network of the registry through torch.hub, by its id with underscores.

    import torch
    model = torch.hub.load("PATH/TO/CLONE", "acdc_resnet50_90", source="local")

`torch.hub.list` names them all, `torch.hub.help` says what one is. A file is downloaded when its
network is asked for, verified, converted and kept; pickles are never executed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from harness.registry import Entry

dependencies = [
    "torch",
    "torchvision",
    "timm",
    "safetensors",
    "numpy",
    "yaml",
    "pydantic",
    "requests",
    "gdown",
    "platformdirs",
]


def __dir__() -> list[str]:
    """What torch.hub lists: the networks, and what they need."""
    return ["dependencies", *_entries()]


def __getattr__(name: str) -> Callable[..., nn.Module]:
    """The function that makes a network; nothing is built or read before it is called."""
    entries = {} if name.startswith("_") else _entries()
    if name not in entries:
        raise AttributeError(f"hubconf has no network called {name!r}")
    return _maker(name)


@cache
def _entries() -> dict[str, Entry]:
    """Function name -> entry, for everything with a published file."""
    from harness.registry import load

    return {
        id.replace("-", "_").replace(".", "_"): entry
        for id, entry in load().entries.items()
        if entry.checkpoint is not None
    }


@cache
def _maker(name: str) -> Callable[..., nn.Module]:
    entry = _entries()[name]

    def make(
        *,
        pretrained: bool = True,
        from_file: str | Path | None = None,
        data_root: str | Path | None = None,
        device: str = "cpu",
    ) -> nn.Module:
        return _made(entry, pretrained, from_file, data_root, device)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = _told(entry)
    return make


def _made(entry: Entry, pretrained: bool, from_file: Any, data_root: Any, device: str) -> nn.Module:
    import harness

    if not pretrained:
        from harness.checkpoints import build_model

        return build_model(entry).eval().to(device)
    return harness.load(
        entry.id,
        from_file=Path(from_file) if from_file else None,
        data_root=Path(data_root) if data_root else None,
        device=device,
    )


def _told(entry: Entry) -> str:
    """What torch.hub.help prints about `entry`."""
    from harness.registry import load

    assert entry.checkpoint is not None
    registry = load()
    paper = registry.papers[entry.paper]
    evaluation = registry.evaluations[entry.evaluation]
    numbers = ", ".join(f"{name} {cell.text}" for name, cell in entry.published.items())
    return f"""{entry.model} on {entry.dataset}, {entry.method}, in eval mode, zeros in place.

    Paper: {paper.title} ({paper.venue}), {paper.url}
    Published: {numbers or "no number"}
    Pictures: {evaluation.name} v{evaluation.version}, mean {list(evaluation.mean)},
    std {list(evaluation.std)}, resize {evaluation.resize}, crop {evaluation.crop}
    File: {entry.checkpoint.sources[0]}, licence: {entry.checkpoint.license}

    pretrained: False builds the network with fresh weights and downloads nothing.
    from_file: use this file, downloaded by hand, instead of the links.
    data_root: where `data:` files lie. device: where the network goes.
    """
