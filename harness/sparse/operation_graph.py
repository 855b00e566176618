"""What a network computes, as a flat list of operations on named values, ready to be rewritten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Activation:
    """Clamps to [low, high]; ReLU is (0, inf), ReLU6 (0, 6). Monotone, so it commutes with max."""

    low: float = 0.0
    high: float = float("inf")

    def __call__(self, values: Tensor) -> Tensor:
        return values.clamp(self.low, self.high)


@dataclass
class Convolution:
    """clamp(conv2d(source) + bias + residual), batch norm folded into weight and bias.

    weight: (M, C/groups, kh, kw) float32. residual: a value of the output's shape, or None.
    label: the layer's name in the model; a layer that is called twice makes two of these.
    """

    name: str
    label: str
    source: str
    weight: Tensor
    bias: Tensor
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    activation: Activation | None = None
    residual: str | None = None

    @property
    def inputs(self) -> list[str]:
        return [self.source] + ([self.residual] if self.residual else [])

    @property
    def nnz(self) -> int:
        return int(self.weight.count_nonzero())

    def dense(self, images: Tensor) -> Tensor:
        """The convolution alone, without residual and activation, on (N,C,H,W)."""
        return F.conv2d(
            images, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


@dataclass
class Linear:
    """source @ weight.T + bias for a source (..., K): features of an image, or its tokens.

    gelu: whether the (exact) GELU of that is the result. residual: what is added to all that, a
    value of the output's shape for one image, or None.
    """

    name: str
    label: str
    source: str
    weight: Tensor
    bias: Tensor
    gelu: bool = False
    residual: str | None = None

    @property
    def inputs(self) -> list[str]:
        return [self.source] + ([self.residual] if self.residual else [])

    def finish(self, product: Tensor, residual: Tensor | None) -> Tensor:
        """The result, of the product with its bias and of what is added."""
        result = F.gelu(product) if self.gelu else product
        return result if residual is None else result + residual


@dataclass
class MaxPool:
    """Maximum over square windows without dilation or ceil_mode, then the activation.

    split: the source holds even columns in its first half of channels, odd ones in the second.
    """

    name: str
    source: str
    kernel: int
    stride: int
    padding: int
    activation: Activation | None = None
    split: bool = False

    @property
    def inputs(self) -> list[str]:
        return [self.source]


@dataclass
class Mean:
    """Mean over height and width of (1,C,H,W), as (1,C,1,1)."""

    name: str
    source: str

    @property
    def inputs(self) -> list[str]:
        return [self.source]


@dataclass
class Pointwise:
    """Function of one value that treats every element alike, whatever the memory layout."""

    name: str
    source: str
    function: Callable[[Tensor], Tensor]

    @property
    def inputs(self) -> list[str]:
        return [self.source]


@dataclass
class Affine:
    """clamp(source * scale + shift) per channel: a batch norm that follows no convolution."""

    name: str
    source: str
    scale: Tensor
    shift: Tensor
    activation: Activation | None = None

    @property
    def inputs(self) -> list[str]:
        return [self.source]


@dataclass
class Add:
    """clamp(left + right) of two values of one shape."""

    name: str
    left: str
    right: str
    activation: Activation | None = None

    @property
    def inputs(self) -> list[str]:
        return [self.left, self.right]


@dataclass
class Concatenate:
    """Values of one height and width, joined along the channels."""

    name: str
    sources: list[str]

    @property
    def inputs(self) -> list[str]:
        return list(self.sources)


@dataclass
class Reference:
    """Stands for a value among the arguments of an untouched operation."""

    value: str


@dataclass
class Untouched:
    """Anything else: run as it is, on plain (1,C,H,W) tensors. `in_place` ones get copies."""

    name: str
    target: Callable[..., Any]
    arguments: Any
    keywords: Any
    references: list[Reference]
    in_place: bool = False

    @property
    def inputs(self) -> list[str]:
        return [reference.value for reference in self.references]


Operation = (
    Convolution | Linear | MaxPool | Mean | Pointwise | Affine | Add | Concatenate | Untouched
)


@dataclass
class OperationGraph:
    """Operations in order; each writes the value of its own name. Values that are tensors have a
    shape; `output` names the result."""

    input: str
    output: str
    operations: list[Operation]
    shapes: dict[str, Shape] = field(default_factory=dict)

    def users(self, value: str) -> list[Operation]:
        """Operations that read `value`, in order."""
        return [operation for operation in self.operations if value in operation.inputs]

    def producer(self, value: str) -> Operation | None:
        """The operation that writes `value`; None for the network's input."""
        return next((op for op in self.operations if op.name == value), None)

    def remove(self, operation: Operation, replacement: str) -> None:
        """Take `operation` out; whoever read it reads `replacement` instead."""
        self.operations.remove(operation)
        for other in self.operations:
            redirect(other, operation.name, replacement)
        if self.output == operation.name:
            self.output = replacement

    def convolutions(self) -> Iterator[Convolution]:
        for operation in self.operations:
            if isinstance(operation, Convolution):
                yield operation


def is_feature_map(shape: Shape) -> TypeGuard[tuple[int, int, int, int]]:
    """Whether a value is (1,C,H,W), not features, tokens or weights that the forward works out."""
    return len(shape) == 4 and shape[0] == 1


def redirect(operation: Operation, old: str, new: str) -> None:
    """Let `operation` read the value `new` wherever it read `old`."""
    if isinstance(operation, Untouched):
        for reference in operation.references:
            reference.value = new if reference.value == old else reference.value
    elif isinstance(operation, Concatenate):
        operation.sources = [new if source == old else source for source in operation.sources]
    else:
        for attribute in ("source", "residual", "left", "right"):
            if getattr(operation, attribute, None) == old:
                setattr(operation, attribute, new)


def as_float(tensor: Tensor) -> Tensor:
    """A float32 copy of its own, cut from any graph."""
    return tensor.detach().to(torch.float32, copy=True).contiguous()
