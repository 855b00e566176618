"""Which convolutions of a network get a gate, read from its data flow."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

Activation = Literal["relu", "relu6", "identity"]

_ACTIVATION_OF: dict[object, Activation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    F.relu6: "relu6",
    "relu": "relu",
    "relu_": "relu",
}
_TRANSPARENT = (nn.Identity, nn.Dropout, nn.Dropout2d)
# A channel that is zero stays zero through these.
_KEEPS_ZEROS: frozenset[object] = frozenset(
    (
        *_ACTIVATION_OF,
        *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        *_TRANSPARENT,
        *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.dropout),
        *("contiguous", "detach"),
    )
)
_ADDITIONS: frozenset[object] = frozenset(
    (operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__iadd__")
)


@dataclass(frozen=True, slots=True)
class GatedLayer:
    """One gate: it looks at the input of `conv` and masks the filters of `conv`.

    The mask multiplies the output of `bn` (of `conv` if there is none) before the activation.
    Every activation here maps 0 to 0, so that equals masking behind it; `act` tells the ground
    truth which activation is still to come. With `block` set, the output of that module (residual
    sum, activated) is masked instead.

    previous: conv of the gate whose active count the paper's counter takes as this layer's input
    width; None = all input channels. narrowed: the masked channels of `previous` really arrive
    here as zeros (false behind a residual addition, which refills them).
    """

    conv: str
    bn: str | None = None
    act: Activation = "relu"
    block: str | None = None
    previous: str | None = None
    narrowed: bool = False

    @property
    def output(self) -> str:
        """Name of the module whose output is masked."""
        return self.block or self.bn or self.conv


def activate(act: Activation, values: Tensor) -> Tensor:
    """`values` behind the activation that follows the masked module, same shape."""
    if act == "relu":
        return values.relu()
    return values.clamp(0, 6) if act == "relu6" else values


def describe(model: nn.Module, after_block: bool = False) -> tuple[GatedLayer, ...]:
    """Gates of a Conv/BN/activation network in execution order, ftwt.md section 2.

    Every Conv2d followed by batch normalisation or ReLU/ReLU6 gets one, except shortcut
    convolutions: of two branches that meet in an addition only the one with more convolutions is
    gated. after_block: the last gate of a residual block masks the block's activated sum.
    Raises ValueError if the forward pass cannot be traced symbolically or no layer can be gated.
    """
    flow = _Flow(model)
    shortcuts = flow.shortcuts()
    masked: dict[fx.Node, str] = {}  # node whose result is masked -> conv of the gate
    layers: list[GatedLayer] = []
    for conv in flow.convolutions():
        last, act = flow.tail(conv)
        if conv in shortcuts or (last is conv and act == "identity"):
            continue
        addition = flow.addition_behind(last) if act == "identity" else None
        block = str(conv.target).rpartition(".")[0] if after_block and addition else ""
        previous, narrowed = flow.feeder(conv, masked)
        masked[addition if addition and block else last] = str(conv.target)
        layers.append(
            GatedLayer(
                conv=str(conv.target),
                bn=None if last is conv else str(last.target),
                act="identity" if block else act,
                block=block or None,
                previous=previous,
                narrowed=narrowed,
            )
        )
    if not layers:
        msg = (
            f"{type(model).__name__} has no Conv2d followed by batch normalisation or ReLU, "
            "so nothing can be gated; pass GatedLayer descriptions written by hand"
        )
        raise ValueError(msg)
    return tuple(layers)


def select(
    layers: Sequence[GatedLayer], include: Iterable[str] = (), exclude: Iterable[str] = ()
) -> tuple[GatedLayer, ...]:
    """`layers` whose conv matches a glob of `include` (all if empty) and none of `exclude`.

    A layer whose predecessor was dropped sees all its input channels.
    Raises ValueError for a pattern that matches no layer, or if nothing is left.
    """
    include, exclude = tuple(include), tuple(exclude)
    for pattern in (*include, *exclude):
        if not any(fnmatchcase(layer.conv, pattern) for layer in layers):
            known = ", ".join(layer.conv for layer in layers[:6])
            msg = f"pattern {pattern!r} matches no gated convolution; they are: {known}, ..."
            raise ValueError(msg)
    kept = [
        layer
        for layer in layers
        if any(fnmatchcase(layer.conv, p) for p in include or ("*",))
        and not any(fnmatchcase(layer.conv, p) for p in exclude)
    ]
    if not kept:
        msg = f"include={include} and exclude={exclude} leave none of {len(layers)} gated layers"
        raise ValueError(msg)
    names = {layer.conv for layer in kept}
    return tuple(
        layer if layer.previous in names else replace(layer, previous=None, narrowed=False)
        for layer in kept
    )


class _Flow:
    """The traced data flow of a model, with the questions `describe` asks of it."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = dict(model.named_modules())
        try:
            self.graph = fx.Tracer().trace(model)
        except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError) as error:
            msg = (
                f"{type(model).__name__} cannot be traced to find its gated layers ({error}); "
                "pass GatedLayer descriptions written by hand"
            )
            raise ValueError(msg) from error

    def kind(self, node: fx.Node) -> object:
        """Module class, function or method name that `node` calls."""
        if node.op == "call_module":
            return type(self.modules[str(node.target)])
        return node.target

    def convolutions(self) -> list[fx.Node]:
        """Calls of Conv2d modules that are used once, in execution order."""
        calls = [n for n in self.graph.nodes if self.kind(n) is nn.Conv2d]
        targets = [n.target for n in calls]
        return [n for n in calls if targets.count(n.target) == 1]

    def tail(self, conv: fx.Node) -> tuple[fx.Node, Activation]:
        """The batch normalisation behind `conv` (or `conv`) and the activation that follows it."""
        last = conv
        user = _only_user(conv)
        if user is not None and self.kind(user) is nn.BatchNorm2d:
            last = user
            user = _only_user(last)
        while user is not None and self.kind(user) in _TRANSPARENT:
            user = _only_user(user)
        return last, "identity" if user is None else _ACTIVATION_OF.get(self.kind(user), "identity")

    def source(self, node: fx.Node) -> fx.Node:
        """First node upstream of `node`, itself included, that can turn zeros into something."""
        while node.all_input_nodes and self.kind(node) in _KEEPS_ZEROS:
            node = node.all_input_nodes[0]
        return node

    def addition_behind(self, node: fx.Node) -> fx.Node | None:
        """The addition that takes the result of `node`, if there is one."""
        user = _only_user(node)
        while user is not None and self.kind(user) in _KEEPS_ZEROS:
            user = _only_user(user)
        return user if user is not None and self.kind(user) in _ADDITIONS else None

    def feeder(self, conv: fx.Node, masked: dict[fx.Node, str]) -> tuple[str | None, bool]:
        """(conv of the gate before `conv`, whether its zeros arrive here)."""
        source = self.source(conv.all_input_nodes[0])
        if source in masked:
            return masked[source], True
        if self.kind(source) in _ADDITIONS:
            for operand in source.all_input_nodes:
                if self.source(operand) in masked:
                    return masked[self.source(operand)], False
        return None, False

    def shortcuts(self) -> set[fx.Node]:
        """Convolutions on the shorter of two convolutional branches of an addition."""
        found: set[fx.Node] = set()
        for node in self.graph.nodes:
            if self.kind(node) not in _ADDITIONS:
                continue
            branches = sorted((self._branch(n) for n in node.all_input_nodes), key=len)
            if len(branches) == 2 and branches[0]:
                found.update(branches[0])
        return found

    def _branch(self, node: fx.Node) -> list[fx.Node]:
        """Convolutions between `node` and the fork where its branch begins."""
        found = []
        while len(node.users) == 1 and len(node.all_input_nodes) == 1:
            if self.kind(node) is nn.Conv2d:
                found.append(node)
            node = node.all_input_nodes[0]
        return found


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
