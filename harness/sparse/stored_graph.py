"""Operation graphs as JSON and tensors.

Nothing in a stored graph is executed: functions, methods and layers are looked up by name among
those listed here.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.sparse import attention, operation_graph
from harness.sparse.operation_graph import Operation, OperationGraph, Reference
from harness.sparse.tracing import Constant, TensorMethod, is_hooked

_NAMES: dict[Any, str] = {
    operator: "add sub mul truediv floordiv neg getitem matmul iadd isub imul itruediv pow",
    torch: """add sub mul div matmul bmm flatten cat concat stack chunk split relu sigmoid tanh
    softmax permute transpose reshape mean sum squeeze unsqueeze clamp abs sign sqrt rsqrt exp
    roll""",
    F: """relu relu6 gelu silu hardswish hardsigmoid sigmoid tanh softmax layer_norm group_norm
    batch_norm linear conv2d pad interpolate adaptive_avg_pool2d avg_pool2d max_pool2d dropout
    scaled_dot_product_attention normalize softplus leaky_relu elu""",
    attention: "mix_tokens with_no_weights",
}
_FUNCTIONS = {
    f"{owner.__name__}.{name}": getattr(owner, name)
    for owner, names in _NAMES.items()
    for name in names.split()
}
_METHODS = frozenset(
    """add sub mul div matmul view reshape flatten permute transpose contiguous chunk split size
    mean sum squeeze unsqueeze expand softmax sigmoid tanh relu clamp unbind type_as to
    float""".split()
)
_ATTRIBUTES = frozenset(("shape", "ndim", "dtype", "device", "T", "mT"))
_LAYERS = {
    name: getattr(nn, name)
    for name in """AdaptiveAvgPool2d AvgPool2d BatchNorm2d Conv2d Dropout ELU Flatten GELU GroupNorm
    Hardsigmoid Hardswish Hardtanh Identity LayerNorm LeakyReLU Linear MaxPool2d Mish ReLU ReLU6
    SiLU Sigmoid Softmax Softplus Tanh Unflatten Upsample ZeroPad2d""".split()
}
_PARTS: dict[str, Any] = {
    name: kind
    for name, kind in vars(operation_graph).items()
    if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == operation_graph.__name__
}
_OPERATIONS = {kind.__name__: kind for kind in get_args(Operation)}
_DTYPES = {
    f"{kind}".removeprefix("torch."): kind for kind in (torch.float32, torch.int64, torch.bool)
}
SPARSE_ENOUGH_TO_PACK = 0.5


class Writer:
    """Turns a graph into JSON values; tensors are put aside under numbers."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def graph(self, network: OperationGraph) -> dict[str, Any]:
        """The graph. Raises ProtocolError for an operation that has no name here."""
        return {
            "input": network.input,
            "output": network.output,
            "shapes": {value: list(shape) for value, shape in network.shapes.items()},
            "operations": [
                {"kind": type(operation).__name__, **self._fields(operation)}
                for operation in network.operations
            ],
        }

    def _fields(self, holder: Any) -> dict[str, Any]:
        return {field.name: self.value(getattr(holder, field.name)) for field in fields(holder)}

    def value(self, value: Any) -> Any:
        """One value in JSON: plain ones as they are, the rest as {kind: content}."""
        match value:
            case None | bool() | int() | str():
                return value
            case float():
                return {"float": repr(value)}
            case Tensor():
                return self._tensor(value.detach())
            case tuple():
                return {"tuple": [self.value(item) for item in value]}
            case list():
                return {"list": [self.value(item) for item in value]}
            case dict():
                return {"dict": [[self.value(k), self.value(v)] for k, v in value.items()]}
            case slice():
                return {"slice": [self.value(v) for v in (value.start, value.stop, value.step)]}
            case torch.dtype() if str(value).removeprefix("torch.") in _DTYPES:
                return {"dtype": str(value).removeprefix("torch.")}
        if value is Ellipsis:
            return {"ellipsis": None}
        return self._callable(value)

    def _callable(self, value: Any) -> Any:
        match value:
            case Reference():
                return {"value": value.value}
            case TensorMethod() if value.name in _METHODS:
                return {"method": value.name}
            case Constant():
                return {"constant": self.value(value.value)}
            case nn.Module() if _LAYERS.get(type(value).__name__) is type(value):
                if not is_hooked(value):
                    return self._layer(value)
        if value is getattr:
            return {"attribute": None}
        if _PARTS.get(type(value).__name__) is type(value):
            return {"part": [type(value).__name__, self._fields(value)]}
        for name, known in _FUNCTIONS.items():
            if value is known:
                return {"function": name}
        said = getattr(value, "__name__", None) or getattr(value, "name", type(value).__name__)
        raise ProtocolError(
            f"this network cannot be saved: it calls {said}, which has no name in such files. Keep "
            "the model's code, and compile when the program starts"
        )

    def _layer(self, layer: nn.Module) -> Any:
        names = [name for name in inspect.signature(type(layer)).parameters if hasattr(layer, name)]
        settings = {name: getattr(layer, name) for name in names}
        if isinstance(settings.get("bias"), Tensor) or settings.get("bias", "") is None:
            settings["bias"] = settings["bias"] is not None
        settings |= {"inplace": False} if "inplace" in settings else {}
        state = {name: self._tensor(value) for name, value in layer.state_dict().items()}
        return {"layer": [type(layer).__name__, self.value(settings), state]}

    def _tensor(self, tensor: Tensor) -> Any:
        """A tensor by its number; one that is mostly zeros as bits and values."""
        name = str(len(self.tensors))
        kept = tensor != 0
        if tensor.dtype != torch.float32 or kept.sum() >= SPARSE_ENOUGH_TO_PACK * tensor.numel():
            self.tensors[name] = tensor.clone().contiguous()
            return {"tensor": name}
        self.tensors[name] = tensor[kept]
        self.tensors[f"{name}.kept"] = torch.from_numpy(np.packbits(kept.numpy()))
        return {"packed": [name, *tensor.shape]}


class Reader:
    """Turns what `Writer` made into a graph again. Raises ValueError, KeyError or TypeError for
    anything else."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.kinds: dict[str, Callable[[Any], Any]] = {
            "float": float,
            "tensor": lambda name: self.tensors[name],
            "packed": self._packed,
            "tuple": lambda items: tuple(map(self.value, items)),
            "list": lambda items: [self.value(item) for item in items],
            "dict": lambda items: {self.value(k): self.value(v) for k, v in items},
            "slice": lambda parts: slice(*map(self.value, parts)),
            "dtype": lambda name: _DTYPES[name],
            "ellipsis": lambda _: Ellipsis,
            "method": self._method,
            "constant": lambda value: Constant(self.value(value)),
            "layer": lambda parts: self._layer(*parts),
            "attribute": lambda _: _attribute,
            "function": lambda name: _FUNCTIONS[name],
            "part": lambda parts: _PARTS[parts[0]](**self._fields(parts[1])),
        }
        self.references: list[Reference] = []

    def graph(self, stored: dict[str, Any]) -> OperationGraph:
        shapes = {value: tuple(map(int, shape)) for value, shape in stored["shapes"].items()}
        operations = [self._operation(dict(made)) for made in stored["operations"]]
        return OperationGraph(str(stored["input"]), str(stored["output"]), operations, shapes)

    def value(self, stored: Any) -> Any:
        if not isinstance(stored, dict):
            return stored
        ((kind, content),) = stored.items()
        if kind == "value":
            self.references.append(Reference(str(content)))
            return self.references[-1]
        return self.kinds[kind](content)

    def _fields(self, stored: dict[str, Any]) -> dict[str, Any]:
        return {name: self.value(value) for name, value in stored.items()}

    def _operation(self, stored: dict[str, Any]) -> Operation:
        kind = _OPERATIONS[stored.pop("kind")]
        listed = stored.pop("references", None)
        self.references = []
        made = self._fields(stored)
        if listed is not None:  # those that stand among the arguments, and no copies of them
            made["references"] = self.references
        operation: Operation = kind(**made)
        return operation

    def _method(self, name: str) -> TensorMethod:
        if name not in _METHODS:
            raise ValueError(f"the method {name} is not among those that networks call")
        return TensorMethod(name)

    def _layer(self, name: str, settings: Any, state: dict[str, Any]) -> nn.Module:
        layer: nn.Module = _LAYERS[name](**self.value(settings))
        layer.load_state_dict(self._fields(state))
        return layer.eval().requires_grad_(False)

    def _packed(self, stored: list[Any]) -> Tensor:
        name, *shape = stored
        size = torch.Size(shape)
        bits = np.unpackbits(self.tensors[f"{name}.kept"].numpy(), count=size.numel())
        kept = np.flatnonzero(bits.view(bool))
        tensor = torch.zeros(size.numel())
        tensor[torch.from_numpy(kept)] = self.tensors[name]
        return tensor.view(size)


def _attribute(owner: Any, name: str) -> Any:
    """getattr for what tensors say about themselves."""
    if name not in _ATTRIBUTES or not isinstance(owner, Tensor):
        raise ValueError(f"the attribute {name} is not among those that networks read")
    return getattr(owner, name)
