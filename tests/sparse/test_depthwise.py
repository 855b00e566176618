"""3x3 convolutions of each channel by itself on planes: any stride, border, size and batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness import sparse
from harness.sparse.planes.depthwise_step import is_depthwise
from harness.sparse.tracing import trace
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference

pytest.importorskip("llvmlite")


@st.composite
def chains(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """Two depthwise layers, each before a pointwise one, and the shape of their images."""
    channels = draw(st.sampled_from([1, 2, 5]))
    layers: list[nn.Module] = []
    for width in (channels, 4):
        stride = draw(st.sampled_from([1, 2]))
        padding = draw(st.sampled_from([0, 1, 2, (0, 1), (2, 1)]))
        bias = draw(st.booleans())
        layers += [
            nn.Conv2d(width, width, 3, stride, padding, groups=width, bias=bias),
            draw(st.sampled_from([nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.5), nn.Identity()])),
            nn.Conv2d(width, 4, 1),
        ]
    size = draw(st.integers(9, 40)), draw(st.integers(9, 40))
    density = draw(st.sampled_from([0.3, 1.0]))
    return pruned(nn.Sequential(*layers), density, draw(st.integers(0, 9))), (channels, *size)


@settings(max_examples=20, deadline=None)
@given(chains(), st.sampled_from([1, 3]))
def test_any_depthwise_layer_equals_the_dense_one(
    drawn: tuple[nn.Module, tuple[int, int, int]], tuned: int
) -> None:
    model, shape = drawn
    fast = sparse.compile(model, images(tuned, *shape), only=["planes-8"])
    for count in (1, 4):
        batch = images(count, *shape)
        with torch.inference_mode():
            assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


def test_threads_share_the_channels(two_threads: None) -> None:
    model, batch = (
        pruned(nn.Sequential(nn.Conv2d(7, 7, 3, 2, 1, groups=7)), 1.0),
        images(3, 7, 20, 9),
    )
    fast = sparse.compile(model, batch, only=["planes-8"])
    together = fast(batch)
    torch.set_num_threads(1)
    alone = sparse.compile(model, batch, only=["planes-8"])
    assert torch.equal(alone(batch), together)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(4, 4, 3, 2, 1, groups=4), True),
        (nn.Conv2d(4, 8, 3, 1, 1, groups=4), False),  # two filters per channel
        (nn.Conv2d(4, 4, 3, 1, 1, groups=2), False),
        (nn.Conv2d(4, 4, 5, 1, 2, groups=4), False),
        (nn.Conv2d(4, 4, 3, 1, 2, 2, groups=4), False),  # taps apart
        (nn.Conv2d(4, 4, 3, 3, 1, groups=4), False),
        (nn.Conv2d(4, 4, 3, (1, 2), 1, groups=4), False),
    ],
)
def test_what_is_depthwise(layer: nn.Conv2d, expected: bool) -> None:
    (conv,) = trace(nn.Sequential(layer).eval(), images(1, 4, 12, 12)).convolutions()
    assert is_depthwise(conv) is expected
