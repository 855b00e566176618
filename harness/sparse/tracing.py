"""From a torch module to the list of operations it computes."""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils import prune

from harness.errors import ProtocolError
from harness.sparse.attention import attention_parts
from harness.sparse.operation_graph import (
    Activation,
    Add,
    Affine,
    Concatenate,
    Convolution,
    Linear,
    MaxPool,
    Mean,
    Operation,
    OperationGraph,
    Pointwise,
    Reference,
    Shape,
    Untouched,
    as_float,
    is_feature_map,
)

ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
RELUS = (F.relu, torch.relu, torch.relu_, F.relu_, "relu", "relu_")
JOINS = (torch.cat, torch.concat)
POINTWISE = (
    nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ELU,
)  # fmt: skip
PURE = (
    getattr,
    operator.getitem,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.add,
    operator.sub,
    operator.mul,
    operator.floordiv,
    operator.mod,
)  # what checks of shapes are made of
IN_PLACE_FUNCTIONS = (operator.iadd, operator.imul, operator.isub, operator.itruediv)


def trace(model: nn.Module, image: Tensor) -> OperationGraph:
    """The operations of `model` (see `copied`) with the shapes they have for `image` (1,C,H,W).

    Raises ProtocolError where torch.fx cannot follow the model, and for more than one input or
    output.
    """
    try:
        graph = fx.Tracer().trace(model, concrete_args=_defaults(model))
        module = fx.GraphModule(model, graph)
        _check_inputs(graph)
        shapes = _Shapes(module)
        with torch.no_grad():
            shapes.run(image)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        msg = (
            f"{type(model).__name__} cannot be traced by torch.fx ({error}); its forward probably "
            "branches on tensor values or shapes. Compile the traceable parts one by one"
        )
        raise ProtocolError(msg) from error
    return _Reader(module, shapes.found).read()


def copied(model: nn.Module) -> nn.Module:
    """A copy in eval mode that shares nothing with `model`; masks of torch's pruning are applied.

    Those recompute a weight in a hook before every call, which would hide its zeros.
    """
    computed = [
        value for module in model.modules() for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    ]  # fmt: skip
    own = {id(value): value.detach().clone() for value in computed}  # deepcopy refuses these
    model = copy.deepcopy(model, own).eval()
    for module in model.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(module, hook._tensor_name)
    return model.requires_grad_(False)


def _defaults(model: nn.Module) -> dict[str, Any]:
    """What the forward takes for every argument that has a default."""
    parameters = inspect.signature(model.forward).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _inputs(graph: fx.Graph) -> list[str]:
    """Inputs without a default."""
    return [node.name for node in graph.nodes if node.op == "placeholder" and not node.args]


def _check_inputs(graph: fx.Graph) -> None:
    if len(_inputs(graph)) != 1:
        names = ", ".join(_inputs(graph)) or "none"
        raise ProtocolError(f"a network with one input is needed; this one takes: {names}")


def _unread(graph: fx.Graph) -> set[fx.Node]:
    """Checks, of a shape or that an argument is its default, and what is computed for them only.

    The shapes are those of the example, and arguments are their defaults by then.
    """
    found: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        idle = node.op == "call_function" and (_asserts(node) or node.target in PURE)
        if idle and all(user in found for user in node.users):
            found.add(node)
    return found


def _asserts(node: fx.Node) -> bool:
    return getattr(node.target, "__name__", "").startswith("_assert")


class _Shapes(fx.Interpreter):
    """Runs the graph and keeps the shape of every float tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, Shape] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            self.found[n.name] = tuple(result.shape)
        return result


class _Reader:
    """Turns graph nodes into operations, one method per kind of layer."""

    def __init__(self, module: fx.GraphModule, shapes: dict[str, Shape]) -> None:
        self.module = module
        self.shapes = shapes
        self.renamed: dict[str, str] = {}  # values that an in-place or empty operation replaced
        self.layers: dict[type[nn.Module], Callable[[fx.Node, Any], Operation | None]] = {
            nn.Conv2d: self._convolution,
            nn.BatchNorm2d: self._affine,
            nn.Linear: self._linear,
            nn.MaxPool2d: self._max_pool,
            nn.AdaptiveAvgPool2d: self._mean,
            nn.AvgPool2d: self._mean,
            nn.ReLU: self._relu,
            nn.ReLU6: self._relu,
            nn.Hardtanh: self._relu,
        }

    def read(self) -> OperationGraph:
        source, unread = _inputs(self.module.graph)[0], _unread(self.module.graph)
        operations: list[Operation] = []
        output = ""
        for node in self.module.graph.nodes:
            if node.op == "output":
                output = self._output(node)
            elif node.name != source and node not in unread:
                self._read_node(node, operations)
        return OperationGraph(source, output, operations, self.shapes)

    def _read_node(self, node: fx.Node, operations: list[Operation]) -> None:
        if self._does_nothing(node):
            self.renamed[node.name] = self._value(node.args[0])
            return
        in_place = self._in_place(node)
        source = self._value(self._source(node))
        parts = attention_parts(node, self._layer(node), source, self.shapes)
        operations += parts or [self._known(node) or self._untouched(node, in_place)]
        if in_place:  # whoever reads the changed tensor later must see the change
            self.renamed[self._value(node.args[0])] = node.name

    def _output(self, node: fx.Node) -> str:
        if not isinstance(node.args[0], fx.Node) or node.args[0].name not in self.shapes:
            msg = f"a network with one float32 tensor as output is needed, not {node.args[0]}"
            raise ProtocolError(msg)
        return self._value(node.args[0])

    def _value(self, node: Any) -> str:
        name: str = node.name if isinstance(node, fx.Node) else node
        while name in self.renamed:
            name = self.renamed[name]
        return name

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _does_nothing(self, node: fx.Node) -> bool:
        layer = self._layer(node)
        if node.op == "call_function" and node.target is F.dropout:
            return not node.kwargs.get("training", True)
        idle = isinstance(layer, nn.Identity | nn.Dropout | nn.Dropout2d)
        return idle and not is_hooked(layer)

    def _in_place(self, node: fx.Node) -> bool:
        if not (node.args and isinstance(node.args[0], fx.Node)):
            return False
        if node.op == "call_module":
            return bool(getattr(self._layer(node), "inplace", False))
        name = getattr(node.target, "__name__", str(node.target))
        return (
            node.target in IN_PLACE_FUNCTIONS
            or (name.endswith("_") and not name.endswith("__"))
            or bool(node.kwargs.get("inplace", False))
        )

    def _known(self, node: fx.Node) -> Operation | None:
        """The operation behind a node, or None if it is of no kind that is treated specially."""
        shape = self.shapes.get(node.name, ())
        sources = [self.shapes.get(n.name, ()) for n in node.all_input_nodes]
        if node.op == "call_module":
            return self._known_layer(node)
        if not is_feature_map(shape):
            return None
        if node.target in RELUS:
            return Pointwise(node.name, self._value(node.args[0]), Activation())
        plain_sum = len(node.args) == 2 and not node.kwargs and sources == [shape, shape]
        if node.target in ADDITIONS and plain_sum:
            left, right = (self._value(n) for n in node.args)
            return Add(node.name, left, right)
        if node.target in JOINS:
            return self._join(node, shape, sources)
        if node.target in (F.adaptive_avg_pool2d, F.avg_pool2d) and shape[2:] == (1, 1):
            settings = (*node.args[1:], *node.kwargs.values())
            return self._whole_mean(node, settings[0] if len(settings) == 1 else None)
        return None

    def _known_layer(self, node: fx.Node) -> Operation | None:
        layer = self._layer(node)
        source = self.shapes.get(self._source(node), ())
        if is_hooked(layer):
            return None
        if len(source) < 2 if type(layer) is nn.Linear else not is_feature_map(source):
            return None  # a linear layer treats all rows alike: of a batch, of tokens, of windows
        for kind, read in self.layers.items():
            if isinstance(layer, kind) and type(layer).forward is kind.forward:
                return read(node, layer)
        if isinstance(layer, POINTWISE):
            layer = copy.deepcopy(layer)
            if getattr(layer, "inplace", False):
                layer.inplace = False
            return Pointwise(node.name, self._value(node.args[0]), layer)
        return None

    def _source(self, node: fx.Node) -> str:
        return node.args[0].name if node.args and isinstance(node.args[0], fx.Node) else ""

    def _convolution(self, node: fx.Node, layer: nn.Conv2d) -> Operation | None:
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            return None
        bias = torch.zeros(layer.out_channels) if layer.bias is None else as_float(layer.bias)
        return Convolution(
            name=node.name,
            label=str(node.target),
            source=self._value(node.args[0]),
            weight=as_float(layer.weight),
            bias=bias,
            stride=_pair(layer.stride),
            padding=_pair(layer.padding),
            dilation=_pair(layer.dilation),
            groups=layer.groups,
        )

    def _affine(self, node: fx.Node, layer: nn.BatchNorm2d) -> Operation | None:
        if layer.running_mean is None or layer.running_var is None:
            return None
        scale = (layer.running_var.double() + layer.eps).rsqrt()
        scale = scale if layer.weight is None else scale * layer.weight.double()
        shift = -layer.running_mean.double() * scale
        shift = shift if layer.bias is None else shift + layer.bias.double()
        return Affine(node.name, self._value(node.args[0]), scale, shift)

    def _linear(self, node: fx.Node, layer: nn.Linear) -> Operation | None:
        if not layer.weight.numel():
            return None
        bias = torch.zeros(layer.out_features) if layer.bias is None else as_float(layer.bias)
        source = self._value(node.args[0])
        return Linear(node.name, str(node.target), source, as_float(layer.weight), bias)

    def _max_pool(self, node: fx.Node, layer: nn.MaxPool2d) -> Operation | None:
        sizes = [_pair(n) for n in (layer.kernel_size, layer.stride, layer.padding)]
        square = all(high == wide for high, wide in sizes)
        if not square or _pair(layer.dilation) != (1, 1) or layer.ceil_mode or layer.return_indices:
            return None
        spans = zip(self.shapes[self._source(node)][2:], self.shapes[node.name][2:], strict=True)
        if any((goal - 1) * sizes[1][0] >= length for length, goal in spans):
            return None  # the last window lies in the padding alone
        kernel, stride, padding = (size[0] for size in sizes)
        return MaxPool(node.name, self._value(node.args[0]), kernel, stride, padding)

    def _mean(self, node: fx.Node, layer: nn.AdaptiveAvgPool2d | nn.AvgPool2d) -> Operation | None:
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            return self._whole_mean(node, layer.output_size)
        padded = _pair(layer.padding) != (0, 0) or layer.divisor_override is not None
        whole = _pair(layer.kernel_size) == self.shapes[self._source(node)][2:]
        return self._whole_mean(node, layer.kernel_size) if whole and not padded else None

    def _whole_mean(self, node: fx.Node, setting: Any) -> Operation | None:
        """Both poolings with an output of 1x1: a kernel of the whole size, or an output size 1."""
        height, width = self.shapes[self._source(node)][2:]
        if setting is None or _pair(setting) not in ((1, 1), (height, width)):
            return None
        if self.shapes[node.name][2:] != (1, 1):
            return None
        return Mean(node.name, self._value(node.args[0]))

    def _relu(self, node: fx.Node, layer: nn.ReLU | nn.Hardtanh) -> Operation:
        limits = (layer.min_val, layer.max_val) if isinstance(layer, nn.Hardtanh) else ()
        return Pointwise(node.name, self._value(node.args[0]), Activation(*map(float, limits)))

    def _join(self, node: fx.Node, shape: Shape, sources: list[Shape]) -> Operation | None:
        dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
        parts = node.args[0] if node.args else node.kwargs.get("tensors")
        flat = isinstance(parts, list | tuple) and all(isinstance(p, fx.Node) for p in parts)
        if dim not in (1, -3) or not flat or any(s[2:] != shape[2:] for s in sources):
            return None
        return Concatenate(node.name, [self._value(part) for part in parts])  # type: ignore[union-attr]

    def _untouched(self, node: fx.Node, in_place: bool) -> Operation:
        references: list[Reference] = []

        def refer(argument: Any) -> Any:
            if isinstance(argument, fx.Node):
                references.append(Reference(self._value(argument)))
                return references[-1]
            return argument

        given = () if node.op == "placeholder" else node.args
        arguments = fx.node.map_aggregate(given, refer)
        keywords = fx.node.map_aggregate(node.kwargs, refer)
        target = self._callable(node)
        return Untouched(node.name, target, arguments, dict(keywords), references, in_place)

    def _callable(self, node: fx.Node) -> Callable[..., object]:
        if node.op == "call_module":
            return self.module.get_submodule(str(node.target))
        if node.op == "call_method":
            return TensorMethod(str(node.target))
        if node.op == "placeholder":
            return Constant(node.args[0])
        if node.op == "get_attr":
            return Constant(operator.attrgetter(str(node.target))(self.module))
        return node.target  # type: ignore[return-value]


def is_hooked(layer: nn.Module | None) -> bool:
    """Whether more happens at a call than the layer's own forward."""
    return layer is not None and bool(layer._forward_pre_hooks or layer._forward_hooks)


class Constant:
    """Returns one stored value: a parameter or buffer that the forward reads."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __call__(self) -> object:
        return self.value


class TensorMethod:
    """Calls a method of its first argument."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, owner: object, *arguments: object, **keywords: object) -> object:
        return getattr(owner, self.name)(*arguments, **keywords)


def _pair(value: Any) -> tuple[int, int]:
    high, wide = value if isinstance(value, tuple | list) else (value, value)
    return high, wide
