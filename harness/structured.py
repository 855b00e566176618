"""Networks with fewer channels: cut by torch-pruning (extra `shrink`), written, read again.

The file is safetensors; its header names the architecture it was cut from. Reading it needs no
torch-pruning: the architecture is built and its layers are narrowed to the shapes in the file.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from harness.errors import MetricError, ProtocolError
from harness.models import build

NARROWED = "narrowed"
FORMAT_VERSION = 1
_EXTRA = "torch-pruning is not installed. Install the extra: pip install 'reprune[shrink]'"


@dataclass(frozen=True, slots=True)
class Origin:
    """The architecture a narrowed network was cut from, as `harness.models.build` takes it."""

    model: str
    num_classes: int | None = None
    in_channels: int | None = None

    def network(self) -> nn.Module:
        """That architecture, freshly initialised."""
        return build(self.model, self.num_classes, self.in_channels)


def remove_channels_(network: nn.Module, images: Tensor, share: float) -> nn.Module:
    """`network` without the `share` of each layer's channels that have the smallest L1 norm.

    Channels that a sum or a concatenation ties together go together; the classifier's outputs
    stay. images: (1,C,H,W), to trace the network with. It is changed in place.
    Raises ProtocolError without torch-pruning, or if the network does not run afterwards.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise ProtocolError(_EXTRA) from error
    head = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parameters that no layer owns: left as they are
            pruner = torch_pruning.pruner.MagnitudePruner(
                network.eval(),
                images,
                importance=torch_pruning.importance.MagnitudeImportance(p=1),
                pruning_ratio=share,
                ignored_layers=[head],
            )
            pruner.step()
        with torch.inference_mode():
            network(images)
    except (RuntimeError, ValueError, IndexError, AttributeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"channels cannot be cut from {type(network).__name__}: {first}"
        hint = "Its forward pass fixes channel counts? Shortcuts that pad channels do"
        raise ProtocolError(f"{msg}. {hint}; take a model with projections instead") from error
    return network


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
    network.load_state_dict(dict(weights))
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
