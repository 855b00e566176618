"""Networks with fewer channels: cut by torch-pruning (extra `shrink`), written, read again.

The file is safetensors; its header names the architecture it was cut from. Reading it needs no
torch-pruning: the architecture is built and its layers are narrowed to the shapes in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.errors import CheckpointUnavailable, MetricError, NotACheckpoint
from harness.models import build
from methods.ipruning.dead_channels import rebuild

NARROWED = "narrowed"
FORMAT_VERSION = 1
EXTRA = "torch-pruning is not installed. Install the extra: pip install 'reprune[shrink]'"


@dataclass(frozen=True, slots=True)
class Origin:
    """The architecture a narrowed network was cut from, as `harness.models.build` takes it."""

    model: str
    num_classes: int | None = None
    in_channels: int | None = None

    def network(self) -> nn.Module:
        """That architecture, freshly initialised."""
        return build(self.model, self.num_classes, self.in_channels)


def save_narrowed(network: nn.Module, origin: Origin, images: Tensor, out: Path) -> None:
    """Write `network` to `out`, after checking that it can be read back to the same outputs.

    Raises MetricError if it cannot; nothing is written then.
    """
    from safetensors.torch import save_file

    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    again = narrowed(origin, weights)
    with torch.inference_mode():
        same = torch.equal(again(images), network.eval()(images))
    if not same:
        msg = f"{origin.model}: the shapes alone do not describe the cut network; nothing written"
        raise MetricError(f"{msg}. Please report the model")
    about = {
        "version": FORMAT_VERSION,
        "model": origin.model,
        "num_classes": origin.num_classes,
        "in_channels": origin.in_channels,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, out, metadata={NARROWED: json.dumps(about)})


def read_narrowed(description: str, weights: Mapping[str, Tensor]) -> nn.Module:
    """The network that `save_narrowed` wrote, in eval mode.

    Raises ValueError for a file of another version.
    """
    about = json.loads(description)
    if about.pop("version", None) != FORMAT_VERSION:
        raise ValueError("written by another version; shrink the network again")
    return narrowed(Origin(**about), weights)


def narrowed(origin: Origin, weights: Mapping[str, Tensor]) -> nn.Module:
    """The architecture of `origin` with its layers narrowed to `weights`, loaded strictly.

    Raises ValueError for a layer of another kind whose shape differs.
    """
    network = origin.network()
    for name, module in network.named_modules():
        weight = weights.get(f"{name}.weight")
        own = getattr(module, "weight", None)
        if weight is None or not isinstance(own, Tensor) or weight.shape == own.shape:
            continue
        _narrow_(name, module, weight.shape)
    versioned = network.state_dict()  # some layers read the version of their keys
    versioned.update(weights)
    network.load_state_dict(versioned)
    return network.eval()


def _narrow_(name: str, module: nn.Module, shape: torch.Size) -> None:
    if isinstance(module, nn.Conv2d):
        depthwise = module.groups == module.in_channels > 1
        module.groups = shape[0] if depthwise else module.groups
        module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = shape[0]
        for key in ("running_mean", "running_var"):
            setattr(module, key, torch.empty(shape[0]))
    else:
        raise ValueError(f"{name} is a {type(module).__name__}, which is not narrowed")
    module.weight = nn.Parameter(torch.empty(shape))
    if isinstance(module.bias, Tensor):
        module.bias = nn.Parameter(torch.empty(shape[0]))


DESCRIPTION, LAYOUT = "description", "layout"


def load_shrunk(file: Path | str) -> nn.Module:
    """The network written by `bench shrink`, in eval mode: a finished search's, or a narrowed one.

    Raises CheckpointUnavailable if the file is missing, NotACheckpoint if it is no such network.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(file)
    if not file.is_file():
        raise CheckpointUnavailable(f"{file.name}: no such file. Make it: bench shrink RUN --out")
    try:
        with safe_open(file, "pt") as opened:
            about = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if NARROWED in about:
            return read_narrowed(about[NARROWED], weights)
        return rebuild(about[DESCRIPTION], weights)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        msg = f"{file.name} is not a shrunk network ({type(error).__name__}: {error})"
        raise NotACheckpoint(f"{msg}. Write it again: bench shrink RUN --out FILE") from error


def is_shrunk(file: Path) -> bool:
    """Whether `file` was written by `bench shrink`: its header describes a shrunk network."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            return not {DESCRIPTION, NARROWED}.isdisjoint(opened.metadata() or {})
    except (SafetensorError, OSError):
        return False
