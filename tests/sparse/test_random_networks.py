"""Networks drawn at random: compiled, each computes the same as before."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import sparse
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference

Draw = Callable[[st.SearchStrategy], object]
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.SiLU, nn.Identity)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.inner, self.in_place = inner, in_place

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        if self.in_place:
            y += x
            return F.relu(y, inplace=True)
        return F.relu(x + y)


class Joined(nn.Module):
    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.left(x), x, self.right(x)], 1)


class Gated(nn.Module):
    """Halves of the channels, read at different times."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.chunk(x, 2, 1)
        y = self.inner(x)
        return torch.cat([parts[0], y * torch.sigmoid(y), parts[1]], 1)


class Heads(nn.Module):
    """Two layers deep in the network are summarised and classified together."""

    def __init__(self, body: nn.Module, tail: nn.Module, features: int) -> None:
        super().__init__()
        self.body, self.tail = body, tail
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(features, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        early = torch.flatten(self.pool(x), 1)
        late = self.pool(self.tail(x)).flatten(1)
        return self.classify(torch.cat([early, late], 1))


def convolution(draw: Draw, channels: int, filters: int, same: bool = False) -> nn.Module:
    """A convolution with norm and activation, or without; same: that keeps height and width."""
    kernel, dilation = draw(st.sampled_from([1, 1, 3, 3, (1, 3), 5])), draw(st.sampled_from([1, 2]))
    wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    keeping = tuple(dilation * (k // 2) for k in wide)
    groups = draw(
        st.sampled_from([g for g in (1, 2, channels) if channels % g == filters % g == 0])
    )
    layer = nn.Conv2d(
        channels,
        filters,
        wide,
        stride=1 if same else draw(st.sampled_from([1, 1, 2, (2, 1)])),
        padding=keeping if same else draw(st.sampled_from([keeping, 1, 0])),
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "zeros", "zeros", "replicate"])),
    )
    norm = [nn.BatchNorm2d(filters)] if draw(st.booleans()) else []
    activation = draw(st.sampled_from(ACTIVATIONS))()
    return nn.Sequential(layer, *norm, activation)


def block(draw: Draw, channels: int, earlier: list[nn.Module]) -> tuple[nn.Module, int]:
    """A part of the network and the channels it makes."""
    kind = draw(st.sampled_from(["conv", "conv", "residual", "join", "gate", "pool", "again"]))
    filters = draw(st.sampled_from([2, 4, 6]))
    if kind == "residual":
        inner = [convolution(draw, channels, filters, True), nn.Conv2d(filters, channels, 1)]
        return Residual(nn.Sequential(*inner), draw(st.booleans())), channels
    if kind == "join":
        sides = [convolution(draw, channels, filters, same=True) for _ in range(2)]
        return Joined(*sides), channels + 2 * filters
    if kind == "gate":
        return Gated(convolution(draw, channels, filters, same=True)), channels + filters
    if kind == "pool":
        pools = [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.MaxPool2d(3, 1, 1)]
        return draw(st.sampled_from(pools)), channels
    if kind == "again" and earlier:
        return earlier[-1], channels  # the same weights once more, perhaps at another size
    made = convolution(draw, channels, filters)
    if filters == channels:
        earlier.append(made)
    return made, filters


@st.composite
def networks(draw: Draw) -> nn.Module:
    torch.manual_seed(draw(st.integers(0, 1000)))
    earlier: list[nn.Module] = []
    first = convolution(draw, 3, 4)
    parts, channels = [first], 4
    for _ in range(draw(st.integers(1, 4))):
        part, made = block(draw, channels, [m for m in earlier if m[0].in_channels == channels])
        if isinstance(part, nn.Sequential) and made == channels:
            earlier.append(part)
        parts, channels = [*parts, part], made
    body = nn.Sequential(*parts)
    if draw(st.booleans()):
        return body
    tail = convolution(draw, channels, channels, same=True)
    return Heads(body, tail, 2 * channels)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_random_network_computes_the_same_when_compiled(data: st.DataObject) -> None:
    density = data.draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    model = pruned(data.draw(networks()), density, empty_filters=data.draw(st.floats(0, 1)))
    side = data.draw(st.sampled_from([14, 16, 21]))
    batch = images(3, 3, side, side + data.draw(st.integers(0, 3)))
    with torch.no_grad():
        try:
            expected = model(batch)
        except RuntimeError:
            return  # the map became smaller than a kernel
    some = [("dense",), ("rows-bag",), ("whole-csr",), ("planes-4", "dense"), sparse.FORMS]
    forms = data.draw(st.sampled_from(some))
    fast = sparse.compile(model.train(), batch, only=(*forms, "direct-bag"))
    assert relative_difference(fast(batch), expected) < ORDER_OF_SUMS
