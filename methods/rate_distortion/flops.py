"""Operations left after pruning, as the published figures count them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from methods.inventory import Weight
from methods.rate_distortion.distortion import evaluating

_ATEN = torch.ops.aten
_MATRIX_PRODUCTS = (_ATEN.mm, _ATEN.addmm, _ATEN.bmm, _ATEN.baddbmm)


def output_positions(
    model: nn.Module, image: Tensor, layers: Mapping[str, Weight]
) -> dict[str, int]:
    """How often one image uses each weight of a layer: its MACs are weights times this.

    Output height * width for a convolution, 1 for a linear layer on vectors, tokens for one on
    sequences; the sum over uses, whichever module makes them; 0 for a layer never executed.
    image: (1, C, H, W). The model is run once in eval mode.
    """
    fused = torch.backends.mha.get_fastpath_enabled()  # hides the products of attention
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(model), _Uses(layers) as uses, ExitStack() as hooks:
            for layer in layers.values():
                handle = layer.owner.register_forward_hook(uses.after(layer))
                hooks.callback(handle.remove)
            model(image.to(next(model.parameters()).device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return {name: count // len(image) for name, count in uses.counts().items()}


class _Uses(TorchDispatchMode):
    """Counts products whose matrix or kernel lies in a parameter's memory, wherever they happen.

    Weights that are worked out first lie elsewhere: theirs is the output of their own module.
    """

    def __init__(self, layers: Mapping[str, Weight]) -> None:
        super().__init__()
        self._layers = layers
        self._parameters = {_memory(layer.parameter): layer.parameter for layer in layers.values()}
        self._macs = dict.fromkeys(self._parameters, 0)
        self._called = dict.fromkeys(layers, 0)

    def counts(self) -> dict[str, int]:
        return {
            name: self._macs[_memory(layer.parameter)] // layer.parameter.numel()
            or self._called[name]
            for name, layer in self._layers.items()
        }

    def after(self, layer: Weight) -> Callable[[nn.Module, Any, Any], None]:
        """A forward hook that counts the positions of a convolution's or linear layer's output."""

        def add(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                channels = output.shape[-1 if layer.kind == "linear" else 1]
                self._called[layer.name] += output.numel() // channels

        return add

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket is _ATEN.convolution:
            images, kernel, transposed = args[0], args[1], args[6]
            self._add(kernel, (images if transposed else output)[:, 0].numel())
        elif func.overloadpacket in _MATRIX_PRODUCTS:
            left, right = args[-2:]
            self._add(right, left.shape[-2])
            self._add(left, right.shape[-1])
        return output

    def _add(self, operand: Tensor, times: int) -> None:
        if _memory(operand) in self._macs:
            self._macs[_memory(operand)] += operand.numel() * times


def _memory(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


class LayerFlops(NamedTuple):
    """A layer as the published FLOPs figure sees it."""

    positions: int | None  # output height * width, 1 for linear; None or 0: never executed
    nnz: int
    size: int
    has_bias: bool


def flops_remaining(layers: Iterable[LayerFlops]) -> float:
    """Share of operations left, 0..1, in the published convention ("FLOPs remained").

    sum(A * nnz + b) / sum(A * n + b), A = output positions, b = A if the layer has a bias: once
    per position, not per channel. Layers never executed do not count. Raises ValueError if none is
    left.
    """
    rows = [LayerFlops(*row) for row in layers]
    executed = [row for row in rows if row.positions]
    if not executed:
        raise ValueError("no executed layer: the share of FLOPs left is undefined")
    left = sum((row.positions or 0) * (row.nnz + row.has_bias) for row in executed)
    return left / sum((row.positions or 0) * (row.size + row.has_bias) for row in executed)
