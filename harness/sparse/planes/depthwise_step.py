"""Which convolutions the native depthwise step takes, and how it is told about them."""

from __future__ import annotations

import torch

from harness.sparse.native.fields import DEPTHWISE_SIDE, DEPTHWISE_TAPS, Field, StepKind
from harness.sparse.operation_graph import Convolution
from harness.sparse.planes.steps import FLOAT, NativeStep, Operand


def is_depthwise(conv: Convolution) -> bool:
    """Whether each channel is convolved by itself, with 3x3 taps beside each other."""
    filters, per_group, *kernel = conv.weight.shape
    return (
        (conv.groups, per_group) == (filters, 1)
        and kernel == [DEPTHWISE_SIDE, DEPTHWISE_SIDE]
        and conv.dilation == (1, 1)
        and conv.stride in ((1, 1), (2, 2))
        and conv.residual is None
    )


def depthwise_step(
    conv: Convolution, source: Operand, out: Operand, shape: tuple[int, ...]
) -> NativeStep:
    """shape: of the output, (..., C, H, W). The source has the padding's zeros around it."""
    channels, height, width = shape[-3:]
    stride, (up, left) = conv.stride[0], conv.padding
    first = -up * source.line - FLOAT * left
    lines, columns = (stride * (n - 1) + DEPTHWISE_SIDE - 1 for n in (height, width))
    end = source.plane * (channels - 1) + source.line * lines + FLOAT * (columns + 1)
    source.holds(first, first + end)
    out.holds(0, out.plane * (channels - 1) + out.line * (height - 1) + FLOAT * width)
    weights = torch.cat([conv.weight.view(channels, DEPTHWISE_TAPS), conv.bias.view(-1, 1)], 1)
    step = NativeStep.of(StepKind.DEPTHWISE, x=source, y=out).clamp(conv.activation).set(
        channels=channels, x_plane=source.plane, y_plane=out.plane, x_line=source.line,
        y_line=out.line, height=height, width=width, stride=stride, taps=weights.contiguous(),
    )  # fmt: skip
    step.fields[Field.X] += first
    return step
