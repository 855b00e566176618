"""nn.MultiheadAttention as two linear layers around what mixes the tokens, so that zeros of its
projections can be skipped. Their names are those of the project's inventory of weights."""

from __future__ import annotations

import operator

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from harness.sparse.operation_graph import (
    Linear,
    Operation,
    Reference,
    Shape,
    Untouched,
    as_float,
)

QUIET = {"need_weights", "average_attn_weights"}  # what changes the second output only


def attention_parts(
    node: fx.Node, layer: nn.Module | None, source: str, shapes: dict[str, Shape]
) -> list[Operation]:
    """The operations of a call of attention, the last named like it; [] for any other call.

    source: the value that it reads. shapes: gets those of the new values.
    """
    if type(layer) is not nn.MultiheadAttention or not _mixes_one_value(node, layer):
        return []
    if len(shapes.get(source, ())) != 3:
        return []
    # with a dot, which no name that torch.fx makes has
    ahead, mixed, back = (f"{node.name}.{part}" for part in ("in", "mixed", "out"))
    _, tokens, width = shapes[source]
    shapes |= {name: (1, tokens, width) for name in (mixed, back)}
    shapes[ahead] = (1, tokens, 3 * width)
    fused, out = layer.in_proj_weight, layer.out_proj
    values = [Reference(ahead), Reference(back)]
    return [
        Linear(
            ahead,
            f"{node.target}.in_proj",
            source,
            as_float(fused),
            _bias(layer.in_proj_bias, fused),
        ),
        Untouched(mixed, mix_tokens, (values[0], layer.num_heads), {}, values[:1]),
        Linear(
            back,
            f"{node.target}.out_proj",
            mixed,
            as_float(out.weight),
            _bias(out.bias, out.weight),
        ),
        Untouched(node.name, with_no_weights, (values[1],), {}, values[1:]),
    ]


def mix_tokens(projected: Tensor, heads: int) -> Tensor:
    """(N,T,C), softmax-weighted values, of queries, keys and values (N,T,3C)."""
    parts = projected.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(*parts.unbind(0)).transpose(1, 2).flatten(2)


def with_no_weights(mixed: Tensor) -> tuple[Tensor, None]:
    """What a call of attention returns whose weights nobody reads."""
    return mixed, None


def _mixes_one_value(node: fx.Node, layer: nn.MultiheadAttention) -> bool:
    """Whether tokens attend to themselves, without masks, and nobody reads the weights."""
    alone = len(node.args) == 3 and len(set(node.args)) == 1 and set(node.kwargs) <= QUIET
    plain = layer.batch_first and layer.bias_k is None and not layer.add_zero_attn
    taken = all(user.target is operator.getitem for user in node.users)
    unread = all(user.args[1] == 0 or not user.users for user in node.users if taken)
    hooks = [(part._forward_hooks, part._forward_pre_hooks) for part in (layer, layer.out_proj)]
    return (
        alone
        and plain
        and taken
        and unread
        and layer.in_proj_weight is not None
        and not any(map(any, hooks))
    )


def _bias(bias: Tensor | None, weight: Tensor) -> Tensor:
    return torch.zeros(len(weight)) if bias is None else as_float(bias)
