"""Every way to run a layer gives what PyTorch's dense layer gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness import sparse
from harness.sparse.activation_layout import BlockGrid, StoredValue, Workspace, divisors
from harness.sparse.operation_graph import Convolution
from harness.sparse.sparse_products import KERNELS, Entries, product
from harness.sparse.tables import KINDS, entries, fits, geometry, prepare
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference

# (in, out, kernel, stride, padding, dilation, groups, bias), side 12 or 14
LAYERS = [
    (5, 7, 1, 1, 0, 1, 1, True),
    (5, 7, 1, 1, 1, 1, 1, True),
    (4, 6, 1, 2, 0, 1, 1, False),
    (4, 6, 1, 3, 0, 1, 2, True),
    (5, 7, 3, 1, 1, 1, 1, True),
    (5, 7, 3, 1, 0, 1, 1, False),
    (6, 8, 3, 2, 1, 1, 1, False),
    (6, 8, 3, 2, 1, 1, 2, True),
    (6, 6, 3, 1, 1, 1, 6, False),
    (6, 6, 3, 2, 1, 1, 6, True),
    (3, 8, 7, 2, 3, 1, 1, True),
    (3, 8, 7, 1, 3, 1, 1, False),
    (3, 4, 3, 1, 2, 2, 1, True),
    (3, 4, 3, 2, 3, 2, 1, True),
    (3, 4, 5, 3, 4, 1, 1, True),
    (3, 4, (1, 7), 1, (0, 3), 1, 1, True),
    (3, 4, (7, 1), (2, 1), (3, 0), (1, 2), 1, True),
]


@pytest.mark.parametrize("form", sparse.FORMS)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("side", [12, 15])
def test_a_layer_in_every_form_equals_the_dense_layer(form: str, layer: tuple, side: int) -> None:
    *shape, stride, padding, dilation, groups, bias = layer
    conv = nn.Conv2d(*shape, stride, padding, dilation, groups, bias)
    model = pruned(nn.Sequential(nn.Conv2d(shape[0], shape[0], 1), conv, nn.ReLU()), 0.4)
    batch = images(2, shape[0], side, side)
    fast = sparse.compile(model, batch, only=[form])
    with torch.no_grad():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


@pytest.mark.parametrize(
    ("form", "kernel", "stride", "padding"),
    [
        *((f"rows-{k}", 3, 2, 1) for k in KERNELS),
        *((f"whole-{k}", 3, 2, 1) for k in KERNELS),
        *((f"direct-{k}", 1, 1, 0) for k in KERNELS),
        *((f"direct-{k}", 1, 2, 0) for k in KERNELS),
        ("dense", 3, 1, 1),
        ("dense-channels-last", 3, 1, 1),
    ],
)
def test_a_forced_form_is_the_one_that_runs(
    form: str, kernel: int, stride: int, padding: int
) -> None:
    model = pruned(nn.Sequential(nn.Conv2d(4, 6, kernel, stride, padding)), 0.4)
    (layer,) = sparse.compile(model, images(1, 4, 12, 12), only=[form]).plan.layers
    assert layer.form == form and set(layer.ms) == {form}


@pytest.mark.parametrize("density", [0.0, 0.03, 1.0])
@pytest.mark.parametrize("form", sparse.FORMS)
def test_empty_and_full_layers(form: str, density: float) -> None:
    layers = [nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1)]
    model = pruned(nn.Sequential(*layers), density, empty_filters=0)
    batch = images(1, 4, 8, 8)
    with torch.no_grad():
        expected = model(batch)
    found = sparse.compile(model, batch, only=[form])(batch)
    assert relative_difference(found, expected) < ORDER_OF_SUMS


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_tables_times_entries_are_convolutions_in_every_layout(data: st.DataObject) -> None:
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = (groups * data.draw(st.integers(1, 4)) for _ in range(2))
    height, width = (data.draw(st.integers(6, 16)) for _ in range(2))
    kernel = tuple(data.draw(st.integers(1, 4)) for _ in range(2))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    weight = torch.randn(filters, channels // groups, *kernel, generator=generator)
    weight *= torch.rand(weight.shape, generator=generator) < data.draw(st.floats(0, 1))
    conv = Convolution(
        name="conv",
        label="conv",
        source="input",
        weight=weight,
        bias=torch.randn(filters, generator=generator),
        stride=(data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))),
        padding=(data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))),
        dilation=(data.draw(st.integers(1, 2)), data.draw(st.integers(1, 2))),
        groups=groups,
    )
    image = torch.randn(1, channels, height, width, generator=generator)
    if any(s + 2 * p < d * (k - 1) + 1 for s, p, d, k in zip(
        (height, width), conv.padding, conv.dilation, kernel, strict=True
    )):  # fmt: skip
        return  # PyTorch refuses a kernel larger than the padded image
    expected = conv.dense(image)
    source = BlockGrid(channels, height, width, data.draw(st.sampled_from(divisors(height))))
    goal = expected.shape[2:]
    out = BlockGrid(filters, *goal, data.draw(st.sampled_from(divisors(goal[0]))))
    stored = StoredValue.empty(source)
    stored.blocks().copy_(image[0].unflatten(1, (source.blocks, source.rows)).transpose(0, 1))
    workspace = Workspace()
    for kind in (kind for kind in KINDS if fits(kind, conv, source, out)):
        wider = channels + data.draw(st.integers(0, 2))  # another layer may need more room
        workspace.announce(geometry(kind, conv, image.shape), wider)
        prepared = prepare(kind, conv, stored, out, workspace)
        for name in KERNELS:
            matrix = entries(kind, conv, source, out, workspace)
            result = product(name, matrix)(prepared.fill())
            grid = prepared.grid
            assert (result[-1] == 1).all()  # the bias of the layer that reads it
            cut = result[:-1].view(grid.blocks, filters, grid.rows, prepared.pitch)[
                ..., : grid.width
            ]
            found = cut.transpose(0, 1).reshape(1, filters, *goal)
            assert relative_difference(found, expected) < ORDER_OF_SUMS, (kind, name)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_product_of_an_empty_row_is_zero_and_of_an_empty_matrix_too(kernel: str) -> None:
    table = images(4, 5)
    matrix = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0] * 4, [1.0, 0.0, 0.0, 0.0]])
    found = product(kernel, Entries.of_matrix(matrix))(table)
    assert relative_difference(found, matrix @ table) < ORDER_OF_SUMS
    assert not product(kernel, Entries.of_matrix(torch.zeros(3, 4)))(table).any()


@pytest.mark.parametrize("form", ["direct-csr", "dense"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_in_both_forms(form: str, bias: bool) -> None:
    model = pruned(nn.Sequential(nn.Linear(40, 10, bias=bias)), 0.2)
    batch = images(3, 40)
    fast = sparse.compile(model, batch, only=[form])
    assert fast.plan.layers[0].form == ("dense" if form == "dense" else "csr")
    with torch.no_grad():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (5, 3, 2)]
)
@pytest.mark.parametrize("side", [11, 12])
def test_pooling_follows_the_convolution_in_any_layout(
    kernel: int, stride: int, padding: int, side: int
) -> None:
    layers = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(kernel, stride, padding)]
    model = pruned(nn.Sequential(*layers, nn.Conv2d(6, 4, 1)), 0.4)
    batch = images(1, 3, side, side)
    with torch.no_grad():
        expected = model(batch)
    for form in ("rows-bag", "whole-bag", "dense"):
        found = sparse.compile(model, batch, only=[form, "direct-bag"])(batch)
        assert relative_difference(found, expected) < ORDER_OF_SUMS


@pytest.mark.parametrize("form", ["direct-bag", "rows-bag", "dense"])
def test_a_clamp_below_one_leaves_the_next_bias_alone(form: str) -> None:
    layers = [nn.Conv2d(3, 6, 1), nn.Hardtanh(-0.5, 0.5), nn.Conv2d(6, 4, 1)]
    model, batch = pruned(nn.Sequential(*layers), 0.8, empty_filters=0), images(1, 3, 16, 16)
    with torch.no_grad():
        expected = model(batch)
    found = sparse.compile(model, batch, only=[form])(batch)
    assert relative_difference(found, expected) < ORDER_OF_SUMS


def test_residuals_arrive_in_any_layout() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.relu(self.first(x))
            return F.relu(x + self.second(x))

    model, batch = pruned(Block(), 0.4), images(1, 6, 64, 64)
    with torch.no_grad():
        expected = model(batch)
    for form in ("rows-bag", "whole-bag", "rows-csr", "dense", "dense-channels-last"):
        found = sparse.compile(model, batch, only=[form, "direct-bag"])(batch)
        assert relative_difference(found, expected) < ORDER_OF_SUMS
