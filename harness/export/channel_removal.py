"""Channels taken out of any network: what depends on each other goes together, and is checked.

torch-pruning (extra `shrink`) says which rows and columns belong to a channel. A group of layers
loses channels where that equals zeroing what reads them; everywhere else, such as across a layer
norm or in the heads of attention, it stays whole.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from harness.checkpoints import EXTRA
from harness.errors import ProtocolError

# Of the largest logit. The order of sums changes 1e-6 of it, a wrong channel 1e-2 and more.
TOLERANCE = 1e-4
OUTPUTS = "its channels are the network's outputs"
MOST_FOLLOWED = 2_000_000  # channel numbers per group: a second; a DenseNet-121 needs 100,000
# What treats each channel for itself, so that a removed one leaves the others as they were.
PER_CHANNEL = (_ConvNd, nn.Linear, _BatchNorm, nn.PReLU)


@dataclass(frozen=True, slots=True)
class Removal:
    """What was cut: groups of layers that lost channels, and why others stayed whole."""

    cut: tuple[str, ...]  # the first layer of each group
    whole: dict[str, str]  # the first layer of a group -> why


@dataclass
class _Cutting:
    """A network on its way: its dependency graph, and its twin with zeros instead."""

    network: nn.Module
    images: Tensor
    graph: Any  # torch_pruning.DependencyGraph, which has no types
    masked: nn.Module
    twins: Mapping[nn.Module, nn.Module]  # convolution or linear layer -> its twin in `masked`
    left: dict[nn.Module, Tensor] = field(default_factory=dict)  # input channels by first number

    def agrees(self) -> bool:
        """Whether the cut network gives what the one with zeros gives."""
        with torch.no_grad():
            expected = self.masked(self.images)
            try:
                found = self.network(self.images)
            except Exception:  # shapes that no longer fit, in the network's own code
                return False
        if found.shape != expected.shape:
            return False
        largest = float(expected.abs().max())
        return torch.allclose(found, expected, rtol=0, atol=TOLERANCE * max(largest, 1e-6))


def remove_channels_(network: nn.Module, images: Tensor, share: float) -> Removal:
    """Take the `share` of channels with the smallest L1 norm out of every group of `network`.

    Channels that a sum or a concatenation ties together go together; the outputs stay. images:
    (1,C,H,W), to trace the network with. The network is changed in place, and gives what it gave
    with those channels read as zeros.
    Raises ProtocolError without torch-pruning, or if no group can lose a channel; the network is
    as it was then.
    """
    try:
        import torch_pruning
    except ImportError as error:
        raise ProtocolError(EXTRA) from error
    network.eval().requires_grad_(True)  # the graph is read from autograd's
    masked = copy.deepcopy(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about parameters that no layer owns: left as they are
        try:
            graph = torch_pruning.DependencyGraph().build_dependency(network, images)
        except Exception as error:  # of the library, at networks it does not know
            raise _refusal(network, f"torch-pruning cannot follow it: {_said(error)}") from error
    _bound_(graph)
    plan, whole = _planned(network, graph, share)
    pairs = zip(network.modules(), masked.modules(), strict=True)
    twins: dict[nn.Module, nn.Module] = {
        a: b for a, b in pairs if isinstance(a, _ConvNd | nn.Linear)
    }
    cutting = _Cutting(network, images, graph, masked, twins)
    cut = _attempt(cutting, plan, whole, each=False)
    if cut is None:
        cut = _attempt(cutting, plan, whole, each=True) or ()
    if not cut:
        raise _refusal(network, "; ".join(list(dict.fromkeys(whole.values()))[:3]))
    return Removal(cut, whole)


def _attempt(
    cutting: _Cutting, plan: Mapping[nn.Module, list[int]], whole: dict[str, str], *, each: bool
) -> tuple[str, ...] | None:
    """The groups that were cut, one after the other; `whole` gets those that could not be.

    each: look at the outputs after every group, and undo a wrong one; otherwise once at the end,
    and None, with all undone, if they are wrong.
    """
    cut: list[str] = []
    undo: list[_Snapshot] = []
    failed: dict[str, str] = {}
    names = {module: name for name, module in cutting.network.named_modules()}
    for root, channels in plan.items():
        prune = cutting.graph.get_pruner_of_module(root).prune_out_channels
        snapshot = None
        cutting.graph.followed = 0
        try:
            group = cutting.graph.get_pruning_group(root, prune, channels)
            snapshot = _Snapshot.of(cutting, group)
            group.prune()
            _zero_(cutting, group)
            reason = "" if not each or cutting.agrees() else "without them the outputs are others"
        except Exception as error:  # of the library
            reason = f"torch-pruning cannot follow its channels: {_said(error)}"
        if not reason:
            assert snapshot is not None, "nothing failed"
            cut.append(names[root])
            undo.append(snapshot)
            continue
        failed[names[root]] = reason
        if snapshot is not None:
            snapshot.restore()
    if each or cutting.agrees():
        whole.update(failed)
        return tuple(cut)
    for snapshot in reversed(undo):
        snapshot.restore()
    return None


def _planned(
    network: nn.Module, graph: Any, share: float
) -> tuple[dict[nn.Module, list[int]], dict[str, str]]:
    """First layer of each group -> the channels to take; and the groups that stay whole, why."""
    import torch_pruning

    importance = torch_pruning.importance.MagnitudeImportance(p=1)
    plan: dict[nn.Module, list[int]] = {}
    whole: dict[str, str] = {}
    seen: set[nn.Module] = set()
    for name, root in network.named_modules():
        if not isinstance(root, _ConvNd | nn.Linear) or root in seen:
            continue
        if root not in graph.module2node:
            whole[name] = "it runs inside another layer, which torch-pruning does not look into"
            continue
        graph.followed = 0
        try:
            prune = graph.get_pruner_of_module(root).prune_out_channels
            group = graph.get_pruning_group(root, prune, list(range(_rows(root))))
            seen.update(
                d.target.module for d, _ in group if graph.is_out_channel_pruning_fn(d.handler)
            )
            plan[root] = _weakest(graph, group, importance, share)
        except _Whole as reason:
            whole[name] = str(reason)
        except Exception as error:  # of the library
            whole[name] = f"torch-pruning cannot follow its channels: {_said(error)}"
    return plan, whole


class _Whole(Exception):
    """Why a group of layers keeps all its channels."""


def _weakest(graph: Any, group: Any, importance: Any, share: float) -> list[int]:
    """The weakest channels of a group that has all of them. Raises _Whole."""
    for dep, _ in group:
        if graph.is_out_channel_pruning_fn(dep.handler) and not dep.target.outputs:
            raise _Whole(OUTPUTS)
    scores = importance(group)
    if scores is None:
        raise _Whole("its channels have no weights to rank them by")
    root = group[0].dep.target.module
    parts = max(_parts(dep.target.module) for dep, _ in group)
    if len(scores) != _rows(root) or len(scores) % parts:
        raise _Whole("its channels are tied to several of another layer")
    size = len(scores) // parts
    gone = int(size * share)
    if not 0 < gone < size:
        raise _Whole(f"{share:g} of {size} channels is none of them, or all")
    weakest = scores.view(parts, size).mean(0).argsort()[:gone].sort().values.tolist()
    return [channel + part * size for part in range(parts) for channel in weakest]


def _bound_(graph: Any) -> None:
    """Let the library follow channels only through layers that treat each one for itself.

    It would go on through norms and residual streams, in some networks without end.
    """
    for module, node in graph.module2node.items():
        reason = _mixes(module)
        for dependency in node.dependencies:
            dependency.index_mapping = _BoundedMappings(graph, dependency.index_mapping)
            if reason:
                dependency.is_triggered_by = _Refusing(reason)


@dataclass(frozen=True)
class _Refusing:
    """Stands for Dependency.is_triggered_by where channels are mixed."""

    reason: str

    def __call__(self, prune: Any) -> bool:
        raise _Whole(self.reason)


class _BoundedMappings(list[Any]):
    """Dependency.index_mapping, with a limit to the numbers that one group may be made of."""

    def __init__(self, graph: Any, mappings: list[Any]) -> None:
        super().__init__(mappings)
        self.graph = graph

    def __iter__(self) -> Iterator[Any]:
        return (mapping and partial(self._follow, mapping) for mapping in super().__iter__())

    def _follow(self, mapping: Any, channels: list[Any]) -> list[Any]:
        self.graph.followed += len(channels) * getattr(mapping, "_stride", 1)
        if self.graph.followed > MOST_FOLLOWED:
            raise _Whole("torch-pruning finds no end of what depends on its channels")
        found: list[Any] = mapping(channels)
        return found


def _mixes(module: nn.Module | nn.Parameter) -> str:
    """Why channels cannot leave one by one here; "" if they can."""
    if isinstance(module, nn.Parameter):
        return "a parameter that belongs to no layer is added or multiplied"
    known = isinstance(module, PER_CHANNEL) or type(module).__module__.startswith("torch_pruning")
    return "" if known else f"{type(module).__name__} mixes its channels"


def _rows(layer: nn.Module) -> int:
    return int(layer.out_channels if isinstance(layer, _ConvNd) else layer.out_features)  # type: ignore[arg-type]


def _columns(layer: nn.Module) -> int:
    return int(layer.in_channels if isinstance(layer, _ConvNd) else layer.in_features)  # type: ignore[arg-type]


def _parts(layer: nn.Module) -> int:
    """Equal parts of the channels, of which each loses as many: those of a grouped convolution."""
    grouped = isinstance(layer, _ConvNd) and not _is_depthwise(layer)
    return layer.groups if grouped else 1  # type: ignore[return-value]


def _is_depthwise(layer: _ConvNd) -> bool:
    return layer.groups == layer.in_channels == layer.out_channels > 1


@torch.no_grad()
def _zero_(cutting: _Cutting, group: Any) -> None:
    """Zero in the twin what reads the channels of `group`, which was just cut."""
    for dep, channels in group:
        layer = dep.target.module
        twin = cutting.twins.get(layer)
        if twin is None or not cutting.graph.is_in_channel_pruning_fn(dep.handler):
            continue
        if isinstance(twin, _ConvNd) and _is_depthwise(twin):
            continue
        left = cutting.left.get(layer, torch.arange(_columns(twin)))
        zero_columns_(twin, left[list(channels)])
        keep = torch.ones(len(left), dtype=torch.bool)
        keep[list(channels)] = False
        cutting.left[layer] = left[keep]


@torch.no_grad()
def zero_columns_(layer: nn.Module, channels: Tensor) -> None:
    """Make a convolution or linear layer blind to some of its input channels."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    groups = layer.groups if isinstance(layer, _ConvNd) else 1
    width = weight.shape[1]
    rows = weight.view(groups, -1, *weight.shape[1:])
    for channel in channels.tolist():
        rows[channel // width, :, channel % width] = 0


@dataclass(frozen=True)
class _Snapshot:
    """What the layers of a group hold, and what their twins do, to go back to."""

    cutting: _Cutting
    states: list[tuple[nn.Module, dict[str, Any]]]
    left: dict[nn.Module, Tensor]
    weights: list[tuple[nn.Parameter, Tensor]]

    @classmethod
    def of(cls, cutting: _Cutting, group: Any) -> _Snapshot:
        modules = list(dict.fromkeys(dep.target.module for dep, _ in group))
        weights = [cutting.twins[m].weight for m in modules if m in cutting.twins]
        return cls(
            cutting,
            [(module, _state(module)) for module in modules],
            dict(cutting.left),
            [(w, w.detach().clone()) for w in weights if isinstance(w, nn.Parameter)],
        )

    @torch.no_grad()
    def restore(self) -> None:
        for module, state in self.states:
            module.__dict__.update(state)
        for weight, value in self.weights:
            weight.copy_(value)
        self.cutting.left.clear()
        self.cutting.left.update(self.left)


def _state(module: nn.Module) -> dict[str, Any]:
    """The attributes of a module; containers copied, tensors the same ones."""
    return {
        key: value.copy() if isinstance(value, dict | list) else value
        for key, value in module.__dict__.items()
    }


def _refusal(network: nn.Module, reason: str) -> ProtocolError:
    msg = f"no channel can be cut from {type(network).__name__}: {reason}"
    return ProtocolError(f"{msg}. Zeros in place work with every network: bench prune")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:160]
