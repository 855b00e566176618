"""What no native step computes, by PyTorch's own operations on plain tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.sparse.operation_graph import (
    Add,
    Affine,
    Concatenate,
    Convolution,
    Linear,
    MaxPool,
    Mean,
    Operation,
    Pointwise,
    Untouched,
)
from harness.sparse.plain_calls import Read, plain_call


def torch_operation(
    operation: Operation, linears: Mapping[str, Callable[..., Tensor]]
) -> Callable[[Read], Any]:
    """What computes the operation from the values it reads, (N, ...) each.

    linears: name of a linear layer -> what computes it.
    """
    match operation:
        case Untouched():
            return plain_call(operation)
        case Linear():
            layer = linears[operation.name]
            return lambda read: layer(*[read(value) for value in operation.inputs])
        case Concatenate():
            return lambda read: torch.cat([read(value) for value in operation.inputs], 1)
        case Pointwise():
            return lambda read: operation.function(read(operation.source))
        case Mean():
            raise AssertionError("a mean is always a native step")
    compute, activation = _on_maps(operation), operation.activation
    if activation is None:
        return compute
    return lambda read: activation(compute(read))


def _on_maps(operation: Convolution | Affine | Add | MaxPool) -> Callable[[Read], Tensor]:
    match operation:
        case Convolution():
            residual = operation.residual
            if residual is None:
                return lambda read: operation.dense(read(operation.source))
            return lambda read: operation.dense(read(operation.source)) + read(residual)
        case Affine():
            scale, shift = (
                value.float().view(1, -1, 1, 1) for value in (operation.scale, operation.shift)
            )
            return lambda read: read(operation.source) * scale + shift
        case Add():
            return lambda read: read(operation.left) + read(operation.right)
    sizes = (operation.kernel, operation.stride, operation.padding)
    return lambda read: F.max_pool2d(read(operation.source), *sizes)
