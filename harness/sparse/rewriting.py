"""Rewrites that leave the result as it is: folding, fusing, and taking out what is always zero."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.sparse.operation_graph import (
    Activation,
    Add,
    Affine,
    Convolution,
    Linear,
    MaxPool,
    OperationGraph,
    Pointwise,
    Untouched,
    as_float,
)
from harness.sparse.tracing import is_hooked

# The wider kernels cost a dense convolution a third more, which a sparse one does not notice.
SPARSE_ENOUGH_TO_SPLIT = 0.5
SUMS = (operator.add, torch.add)
Fusible = Convolution | Affine | Add | MaxPool


def simplify(network: OperationGraph) -> None:
    """Change `network` into one with fewer operations and channels and the same output."""
    _fold_norms(network)
    _fuse_activations(network)
    _fuse_sums(network)
    _fuse_activations(network)
    _pool_before_clamping(network)
    _fuse_gelus(network)
    _fuse_token_sums(network)
    remove_channels(network)


def _fold_norms(network: OperationGraph) -> None:
    for norm in [op for op in network.operations if isinstance(op, Affine)]:
        convolution = network.producer(norm.source)
        if isinstance(convolution, Convolution) and _only_user(network, norm.source):
            scale = norm.scale.view(-1, 1, 1, 1)
            convolution.weight = as_float(convolution.weight.double() * scale)
            convolution.bias = as_float(convolution.bias.double() * norm.scale + norm.shift)
            network.remove(norm, convolution.name)


def _fuse_activations(network: OperationGraph) -> None:
    for clamp in [op for op in network.operations if isinstance(op, Pointwise)]:
        before = network.producer(clamp.source)
        if (
            isinstance(clamp.function, Activation)
            and isinstance(before, Fusible)
            and before.activation is None
            and _only_user(network, clamp.source)
        ):
            before.activation = clamp.function
            network.remove(clamp, before.name)


def _fuse_sums(network: OperationGraph) -> None:
    """Let the convolution that comes last before a sum add the other side itself."""
    for total in [op for op in network.operations if isinstance(op, Add)]:
        sides = _by_place(network, (total.left, total.right))
        last = network.producer(sides[1])
        if (
            isinstance(last, Convolution)
            and last.activation is None
            and last.residual is None
            and sides[0] != sides[1]
            and _only_user(network, last.name)
        ):
            last.residual = sides[0]
            last.activation = total.activation
            network.remove(total, last.name)


def _fuse_gelus(network: OperationGraph) -> None:
    for gelu in [op for op in network.operations if isinstance(op, Untouched) and _is_gelu(op)]:
        linear = network.producer(gelu.inputs[0])
        if (
            isinstance(linear, Linear)
            and not linear.gelu
            and linear.residual is None
            and _only_user(network, linear.name)
        ):
            linear.gelu = True
            network.remove(gelu, linear.name)


def _fuse_token_sums(network: OperationGraph) -> None:
    """Let the linear layer that comes last before a sum of tokens add the other side itself."""
    for total in [op for op in network.operations if isinstance(op, Untouched) and _is_sum(op)]:
        sides = _by_place(network, total.inputs)
        shapes = {network.shapes.get(value) for value in (*sides, total.name)}
        last = network.producer(sides[1])
        if (
            isinstance(last, Linear)
            and last.residual is None
            and len(shapes) == 1
            and sides[0] != sides[1]
            and _only_user(network, last.name)
        ):
            last.residual = sides[0]
            network.remove(total, last.name)


def _is_sum(operation: Untouched) -> bool:
    alone = len(operation.arguments) == len(operation.references) == 2
    return operation.target in SUMS and alone and not operation.in_place and not operation.keywords


def _by_place(network: OperationGraph, values: Sequence[str]) -> list[str]:
    """The values in the order in which they are computed."""
    places = {op.name: place for place, op in enumerate(network.operations)}
    return sorted(values, key=lambda value: places.get(value, -1))


def _is_gelu(operation: Untouched) -> bool:
    target = operation.target
    exact = type(target) is nn.GELU and target.approximate == "none"
    hooked = isinstance(target, nn.Module) and is_hooked(target)
    alone = len(operation.arguments) == len(operation.references) == 1
    return (exact or target is F.gelu) and alone and not operation.keywords and not hooked


def _pool_before_clamping(network: OperationGraph) -> None:
    """A clamp after the maximum gives the same and has fewer elements to do."""
    for pool in [op for op in network.operations if isinstance(op, MaxPool)]:
        before = network.producer(pool.source)
        if isinstance(before, Convolution) and pool.activation is None:
            if _only_user(network, before.name):
                pool.activation, before.activation = before.activation, None


def split_columns(network: OperationGraph) -> None:
    """Let a sparse convolution before a pooling of stride 2 make even and odd columns apart.

    As twice as many filters at twice the stride, the odd half with its kernels moved on by one
    output column: the same products, but the pooling then reads neighbours, not every other value.
    """
    for pool in [op for op in network.operations if isinstance(op, MaxPool) and op.stride == 2]:
        conv = network.producer(pool.source)
        if not (isinstance(conv, Convolution) and _only_user(network, conv.name)):
            continue
        filters, channels, high, wide = conv.weight.shape
        _, _, height, width = network.shapes[conv.name]
        sparse = conv.nnz <= SPARSE_ENOUGH_TO_SPLIT * conv.weight.numel()
        plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.residual is None
        if width % 2 or not sparse or not plain:
            continue
        down, right = conv.stride
        both = torch.zeros(2 * filters, channels, high, wide + right)
        both[:filters, ..., :wide] = conv.weight
        both[filters:, ..., right:] = conv.weight
        conv.weight, conv.bias = both, conv.bias.repeat(2)
        conv.stride = (down, 2 * right)
        network.shapes[conv.name] = (1, 2 * filters, height, width // 2)
        pool.split = True


def remove_channels(network: OperationGraph) -> None:
    """Take out filters that nobody reads and filters that are all zero.

    Only between convolutions: a value that is added, joined or returned keeps its channels. An
    all-zero filter yields the constant clamp(bias); one constant channel of ones stays for all of
    them, since at a zero-padded border the constant ends and a bias could not say so.
    """
    changed = True
    while changed:
        changed = False
        for convolution in network.convolutions():
            readers = _readers(network, convolution)
            if readers:
                changed |= _merge_constants(convolution, readers)
                changed |= _drop_unread(convolution, readers)
                batch, _, *size = network.shapes[convolution.name]
                network.shapes[convolution.name] = (batch, len(convolution.bias), *size)


def _readers(network: OperationGraph, convolution: Convolution) -> list[Convolution]:
    """The ungrouped convolutions that are the only readers of an ungrouped one's own output."""
    users = network.users(convolution.name)
    plain = convolution.groups == 1 and convolution.residual is None
    if not plain or convolution.name == network.output:
        return []
    fitting = [
        user
        for user in users
        if isinstance(user, Convolution) and user.groups == 1 and user.residual != convolution.name
    ]
    return fitting if len(fitting) == len(users) else []


def _merge_constants(convolution: Convolution, readers: list[Convolution]) -> bool:
    """Move what all-zero filters contribute into one channel that is 1 everywhere."""
    dead = convolution.weight.flatten(1).count_nonzero(1) == 0
    activation = convolution.activation
    values = convolution.bias if activation is None else activation(convolution.bias)
    one = torch.ones(())
    if activation is not None and activation(one) != one:
        return False
    read = torch.stack([reader.weight.abs().amax((0, 2, 3)) > 0 for reader in readers]).any(0)
    needed = dead & read
    if not bool(needed.any()):
        return False
    first = int(needed.int().argmax())
    if int(needed.sum()) == 1 and float(values[first]) == 1.0:
        return False
    for reader in readers:
        merged = (reader.weight[:, dead] * values[dead].view(1, -1, 1, 1)).sum(1)
        reader.weight = reader.weight.clone()
        reader.weight[:, dead] = 0.0
        reader.weight[:, first] = merged
    convolution.bias = convolution.bias.clone()
    convolution.bias[first] = 1.0
    return True


def _drop_unread(convolution: Convolution, readers: list[Convolution]) -> bool:
    """Remove the filters whose outputs meet only zero weights; at least one stays."""
    read = torch.stack([reader.weight.abs().amax((0, 2, 3)) > 0 for reader in readers]).any(0)
    if bool(read.all()):
        return False
    keep = read.nonzero().flatten() if bool(read.any()) else torch.tensor([0])
    if len(keep) == len(read):
        return False
    convolution.weight = _chosen(convolution.weight, keep)
    convolution.bias = _chosen(convolution.bias, keep)
    for reader in readers:
        reader.weight = _chosen(reader.weight.transpose(0, 1), keep).transpose(0, 1).contiguous()
    return True


def _chosen(tensor: Tensor, rows: Tensor) -> Tensor:
    return tensor.index_select(0, rows).contiguous()


def _only_user(network: OperationGraph, value: str) -> bool:
    return len(network.users(value)) == 1 and network.output != value
