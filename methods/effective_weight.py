"""The tensor that a layer multiplies its input by, which need not be the one it stores.

Parametrizations and torch's pruning hooks show it as the attribute itself. Layers with a forward
of their own (weight standardisation, quantisation) work it out there: they are run until they
call the product, whose weight is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import conv
from torch.nn.utils import prune
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode

_PRODUCTS: tuple[Any, ...] = (
    F.linear,
    F.conv1d,
    F.conv2d,
    F.conv3d,
    F.conv_transpose1d,
    F.conv_transpose2d,
    F.conv_transpose3d,
)


def effective_weight(owner: nn.Module, attribute: str) -> Tensor:
    """What `owner` multiplies by where it stores `attribute`, without gradients kept."""
    _refresh(owner, attribute)
    own: Tensor = getattr(owner, attribute)
    if attribute == "weight" and has_own_forward(owner):
        seen = _weight_of_first_product(owner, own)
        return own if seen is None else seen
    return own


def _refresh(owner: nn.Module, attribute: str) -> None:
    """Let torch's hooks work out the attribute anew: they do so only before a forward pass."""
    for hook in owner._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == attribute:
            hook(owner, ())
        elif isinstance(hook, WeightNorm) and hook.name == attribute:
            hook(owner, ())


def has_own_forward(owner: nn.Module) -> bool:
    """Whether a convolution or linear layer computes in a way of its own, by a changed weight."""
    if not isinstance(owner, nn.Linear | conv._ConvNd):
        return False
    base = next(kind for kind in type(owner).__mro__ if kind.__module__ in _TORCH)
    methods = ("forward", "_conv_forward")
    return any(getattr(type(owner), m, None) is not getattr(base, m, None) for m in methods)


_TORCH = (nn.Linear.__module__, conv.__name__)


def _weight_of_first_product(owner: nn.Module, own: Tensor) -> Tensor | None:
    """The weight in the first product that the owner's forward calls; None if it calls none."""
    with torch.no_grad(), _Catch() as catch:
        try:
            owner.forward(torch.zeros(_input_shape(owner), device=own.device, dtype=own.dtype))
        except _Caught:
            return catch.weight
        except (RuntimeError, TypeError, ValueError):  # it wants another kind of input
            return None
    return None


def _input_shape(owner: nn.Module) -> tuple[int, ...]:
    if isinstance(owner, nn.Linear):
        return (1, owner.in_features)
    assert isinstance(owner, conv._ConvNd)  # has_own_forward
    reach = [d * (k - 1) + 1 for d, k in zip(owner.dilation, owner.kernel_size, strict=True)]
    return (1, owner.in_channels, *reach)


class _Caught(Exception):
    """The product is reached; nothing after it is of interest."""


class _Catch(TorchFunctionMode):
    weight: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _PRODUCTS:
            self.weight = args[1] if len(args) > 1 else (kwargs or {})["weight"]
            raise _Caught
        return func(*args, **(kwargs or {}))
