"""Re-runs only the part of a network that one layer's weight reaches.

A forward pass is recorded once per batch shape as a straight line of tensor operations without
in-place updates. For a layer, every operation downstream of its weight is its suffix; the values
that feed the suffix from outside (its inputs) do not change while the layer is perturbed. They
are computed once per layer and batch, and the suffix alone is run for each perturbed weight.
The same kernels run on the same shapes as in the model itself, so results are bit-identical.

This needs no knowledge of the architecture: branches, concatenation, grouped convolution and a
weight used twice are all just operations downstream of a weight. Control flow that depends on
tensor values cannot be recorded; then Unrecordable is raised and the caller runs the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import getitem as _getitem
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

_ATEN = torch.ops.aten

# Elementwise operations that may overwrite their first argument when nothing else reads it:
# recorded forms are out of place, and allocating every result costs about a tenth of a pass.
_IN_PLACE = {
    _ATEN.relu.default: _ATEN.relu_.default,
    _ATEN.hardtanh.default: _ATEN.hardtanh_.default,
    _ATEN.silu.default: _ATEN.silu_.default,
    _ATEN.sigmoid.default: _ATEN.sigmoid_.default,
    _ATEN.hardswish.default: _ATEN.hardswish_.default,
    _ATEN.add.Tensor: _ATEN.add_.Tensor,
}


class Unrecordable(RuntimeError):
    """The forward pass cannot be written as a fixed sequence of operations."""


@dataclass(frozen=True)
class Suffix:
    """What one weight reaches: `run(*inputs, weight)` gives the logits."""

    parameter: str
    inputs: tuple[Node, ...]  # values from outside, in argument order
    start: int  # position of the first operation that sees the weight
    cost: int  # operations to run; 0 if the weight does not reach the logits
    run: Callable[..., Tensor]


class Recording:
    """One forward pass of a model in eval mode, for one batch shape."""

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        """Records model(images). Raises Unrecordable if that fails or does not reproduce it."""
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self._module = _record(model, tensors, images)
        graph = self._module.graph
        graph.eliminate_dead_code()
        self._nodes = list(graph.nodes)
        self._position = {node: i for i, node in enumerate(self._nodes)}
        self._last_use = {
            node: max((self._position[user] for user in node.users), default=-1)
            for node in self._nodes
        }
        placeholders = [node for node in self._nodes if node.op == "placeholder"]
        self.images = placeholders[-1]
        self._weights = dict(zip(tensors, placeholders[:-1], strict=True))
        self._output = _single_output(self._nodes[-1])
        self._constants = dict(zip(placeholders[:-1], tensors.values(), strict=True))
        for node in self._nodes:
            if node.op == "get_attr":
                self._constants[node] = getattr(self._module, str(node.target))
        self._suffixes: dict[str, Suffix] = {}

    def logits(self, images: Tensor) -> Tensor:
        """The recorded model's output for a batch of the recorded shape."""
        values = {self.images: images}
        self._advance(values, (self._output,), len(self._nodes))
        return values[self._output]

    def suffix(self, parameter: str) -> Suffix:
        """What the parameter reaches on its way to the logits."""
        if parameter not in self._suffixes:
            self._suffixes[parameter] = self._cut(parameter)
        return self._suffixes[parameter]

    def inputs(self, suffix: Suffix, values: dict[Node, Tensor]) -> list[Tensor]:
        """Arguments of `suffix`, computed from `values` as far as they are not in there yet.

        `values` starts as {images: batch} and is brought up to date in place: what this suffix or
        a later one needs stays, the rest is dropped. Call with suffixes in ascending `start`.
        """
        self._advance(values, suffix.inputs, suffix.start)
        return [self._constants[n] if n in self._constants else values[n] for n in suffix.inputs]

    def _cut(self, parameter: str) -> Suffix:
        weight = self._weights[parameter]
        reached = {weight}
        for node in self._nodes:
            if any(source in reached for source in node.all_input_nodes):
                reached.add(node)
        reached &= _ancestors(self._output)
        body = [node for node in self._nodes if node in reached and node is not weight]
        sources = dict.fromkeys(source for node in body for source in node.all_input_nodes)
        # A weight that reaches nothing leaves the logits as they are.
        inputs = tuple(n for n in sources if n not in reached) if body else (self._output,)
        start = self._position[body[0]] if body else len(self._nodes)
        run = _compile(body, inputs, weight, self._output)
        return Suffix(parameter, inputs, start, len(body), run)

    def _advance(self, values: dict[Node, Tensor], wanted: tuple[Node, ...], start: int) -> None:
        """Adds `wanted` to `values`; drops what no operation from `start` on reads."""

        def is_idle(node: Node) -> bool:
            return node not in wanted and self._last_use[node] < start

        todo = self._missing(values, wanted)
        readers = {n: sum(user in todo for user in n.users) for n in (*todo, *values)}
        for node in todo:
            values[node] = self._execute(node, values)
            for source in node.all_input_nodes:
                if source in readers:
                    readers[source] -= 1
                    if not readers[source] and is_idle(source):
                        del values[source]
        for node in [known for known in values if is_idle(known)]:
            del values[node]

    def _missing(self, values: dict[Node, Tensor], wanted: tuple[Node, ...]) -> dict[Node, None]:
        """Operations to run for `wanted`, in recorded order (a dict used as an ordered set)."""
        needed: set[Node] = set()
        stack = list(wanted)
        while stack:
            node = stack.pop()
            if node in needed or node in values or node in self._constants:
                continue
            needed.add(node)
            stack.extend(node.all_input_nodes)
        return dict.fromkeys(sorted(needed, key=self._position.__getitem__))

    def _execute(self, node: Node, values: dict[Node, Tensor]) -> Any:
        def look_up(source: Node) -> Any:
            return self._constants[source] if source in self._constants else values[source]

        if node.op != "call_function" or not callable(node.target):
            raise Unrecordable(f"unexpected recorded operation {node.format_node()}")
        return node.target(*map_arg(node.args, look_up), **map_arg(node.kwargs, look_up))


def _record(model: nn.Module, tensors: Mapping[str, Tensor], images: Tensor) -> GraphModule:
    from torch.fx.experimental.proxy_tensor import make_fx

    def forward(named: dict[str, Tensor], batch: Tensor) -> Tensor:
        output: Tensor = functional_call(model, named, (batch,))
        return output

    try:
        with torch.no_grad():
            return make_fx(functionalize(forward, remove="mutations"))(dict(tensors), images)
    except Exception as error:
        msg = f"the forward pass cannot be recorded: {type(error).__name__}: {error}"
        raise Unrecordable(msg.splitlines()[0]) from error


def _single_output(node: Node) -> Node:
    results = node.args[0]
    if not isinstance(results, list | tuple) or len(results) != 1:
        raise Unrecordable("the model does not return a single tensor")
    (result,) = results
    if not isinstance(result, Node):
        raise Unrecordable("the model returns a constant")
    return result


def _ancestors(node: Node) -> set[Node]:
    found: set[Node] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current not in found:
            found.add(current)
            stack.extend(current.all_input_nodes)
    return found


def _compile(
    body: list[Node], inputs: tuple[Node, ...], weight: Node, output: Node
) -> Callable[..., Tensor]:
    """Python code for `body`; it frees every value after its last use."""
    graph = Graph()
    copies = {node: graph.placeholder(f"given_{i}") for i, node in enumerate(inputs)}
    copies[weight] = graph.placeholder("weight")
    for node in body:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[output])
    _overwrite_dying_values(graph)
    module = GraphModule(nn.Module(), graph)
    run: Callable[..., Tensor] = module.forward
    return run


def _overwrite_dying_values(graph: Graph) -> None:
    for node in graph.nodes:
        in_place = _IN_PLACE.get(node.target) if node.op == "call_function" else None
        if in_place is None:
            continue
        if (
            node.target is _ATEN.add.Tensor
            and not node.kwargs
            and not _is_dying(node.args[0], node)
        ):
            node.args = (node.args[1], node.args[0])  # addition commutes exactly
        if _is_dying(node.args[0], node):
            node.target = in_place


def _is_dying(value: Any, reader: Node) -> bool:
    """True if `value` owns its memory, was made inside the suffix, and only `reader` reads it."""
    if not isinstance(value, Node) or len(value.users) != 1 or value.op != "call_function":
        return False
    if not _same_layout(value, reader):
        return False
    maker = value.args[0] if value.target is _getitem else value
    if not isinstance(maker, Node) or not isinstance(maker.target, torch._ops.OpOverload):
        return False
    if maker.target in _IN_PLACE.values():
        return True  # wrote over a value that was itself dying
    return all(result.alias_info is None for result in maker.target._schema.returns)


def _same_layout(value: Node, reader: Node) -> bool:
    a, b = value.meta.get("tensor_meta"), reader.meta.get("tensor_meta")
    return a is not None and b is not None and (a.shape, a.dtype) == (b.shape, b.dtype)
