"""Chains of random layers, as programs on planes."""

from __future__ import annotations

from collections.abc import Collection

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.sparse.native.kernels import kernels
from harness.sparse.operation_graph import Convolution
from harness.sparse.planes.program import PlaneProgram
from harness.sparse.rewriting import simplify
from harness.sparse.tracing import trace

CHANNELS = 6


class Residual(nn.Module):
    """relu(layer(x) + x), both of one shape."""

    def __init__(self, kernel: int, dilation: int) -> None:
        super().__init__()
        reach = dilation * (kernel - 1) // 2
        self.layer = nn.Conv2d(CHANNELS, CHANNELS, kernel, 1, reach, dilation)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x) + x)


@st.composite
def blocks(draw: st.DrawFn) -> nn.Module:
    """A layer, a pooling or a block with a shortcut."""
    kind = draw(st.sampled_from(["layer", "layer", "depthwise", "pool", "residual"]))
    if kind == "pool":
        kernel = draw(st.sampled_from([2, 3]))
        return nn.Sequential(nn.ReLU(), nn.MaxPool2d(kernel, 2, draw(st.integers(0, 1))))
    if kind == "depthwise":
        stride, padding = draw(st.sampled_from([1, 2])), draw(st.integers(0, 2))
        layer = nn.Conv2d(CHANNELS, CHANNELS, 3, stride, padding, groups=CHANNELS)
        return nn.Sequential(layer, nn.ReLU6())
    if kind == "residual":
        return Residual(draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 2])))
    kernel, stride = draw(st.sampled_from([1, 2, 3, 7])), draw(st.sampled_from([1, 1, 2, 3]))
    padding = draw(st.integers(0, kernel - 1))
    groups = draw(st.sampled_from([1, 1, 2]))
    return nn.Sequential(
        nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, padding, groups=groups), nn.ReLU()
    )


def fits(model: nn.Module, batch: Tensor) -> bool:
    """Whether images are large enough for every kernel."""
    try:
        model(batch)
    except RuntimeError:
        return False
    return True


def program(
    model: nn.Module, example: Tensor, form: str, bands: int, dense: Collection[int] = ()
) -> PlaneProgram:
    """Every convolution of the model in one form but those whose numbers are in `dense`, the layers
    around large maps in bands."""
    found = kernels()
    assert found is not None
    network = trace(model, example[:1])
    simplify(network)
    forms = {op.name: form if isinstance(op, Convolution) else "dense" for op in network.operations}
    for number, conv in enumerate(network.convolutions()):
        forms[conv.name] = "dense" if number in dense else form
    return PlaneProgram(network, found, forms, len(example), torch.get_num_threads(), bands)
