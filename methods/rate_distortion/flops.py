"""Operations left after pruning, as the published figures count them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from methods.rate_distortion.distortion import evaluating


def output_positions(
    model: nn.Module, image: Tensor, layers: Mapping[str, nn.Module]
) -> dict[str, int]:
    """How often one image uses each weight of a layer: its MACs are weights times this.

    Output height * width for a convolution, 1 for a linear layer on vectors; the sum over calls;
    0 for a layer never executed. image: (1, C, H, W). The model is run once in eval mode.
    """
    count = dict.fromkeys(layers, 0)

    def add(name: str, layer: nn.Module, output: Tensor) -> None:
        channels = output.shape[1] if isinstance(layer, nn.Conv2d) else output.shape[-1]
        count[name] += output.numel() // (channels * len(image))

    handles = [
        layer.register_forward_hook(lambda module, _, out, name=name: add(name, module, out))
        for name, layer in layers.items()
    ]
    try:
        with evaluating(model):
            model(image.to(next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return count


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
