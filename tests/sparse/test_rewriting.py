"""Filters and channels that do not matter are gone, and the result is the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from harness import sparse
from harness.sparse.operation_graph import Convolution, MaxPool
from harness.sparse.rewriting import simplify
from harness.sparse.tracing import trace
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference


def chain(activation: nn.Module, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=padding),
        activation,
        nn.Conv2d(8, 6, 3, padding=padding),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
    )


def weights(model: nn.Module, batch: Tensor) -> list[tuple[int, ...]]:
    network = trace(model, batch)
    simplify(network)
    return [tuple(conv.weight.shape) for conv in network.convolutions()]


def compiled_difference(model: nn.Module, batch: Tensor, expected: Tensor) -> float:
    """Of the sparse network itself, whatever would be faster."""
    return relative_difference(sparse.compile(model, batch, slower="keep")(batch), expected)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Identity()], ids=str)
@pytest.mark.parametrize("padding", [0, 1])
def test_empty_filters_leave_one_constant_channel(activation: nn.Module, padding: int) -> None:
    model, batch = pruned(chain(activation, padding), 1.0, empty_filters=0), images(1, 3, 9, 9)
    with torch.no_grad():
        model[0].weight[2:6] = 0
        model[0].bias[2:6] = torch.tensor([0.7, -0.4, 1.3, 0.2])
        expected = model(batch)
    assert weights(model, batch)[:2] == [(5, 3, 3, 3), (6, 5, 3, 3)]  # 4 filters and the constant
    assert compiled_difference(model, batch, expected) < ORDER_OF_SUMS


def test_empty_filters_whose_constant_is_zero_vanish() -> None:
    model, batch = pruned(chain(nn.ReLU()), 1.0, empty_filters=0), images(1, 3, 9, 9)
    with torch.no_grad():
        model[0].weight[2:6] = 0
        model[0].bias[2:6] = -1.0
        expected = model(batch)
    assert weights(model, batch)[:2] == [(4, 3, 3, 3), (6, 4, 3, 3)]
    assert compiled_difference(model, batch, expected) < ORDER_OF_SUMS


def test_channels_that_nobody_reads_are_removed_all_the_way_up() -> None:
    model, batch = pruned(chain(nn.ReLU()), 1.0, empty_filters=0), images(1, 3, 9, 9)
    with torch.no_grad():
        model[4].weight[:, 1:] = 0  # only filter 0 of the second layer matters
        model[2].weight[0, 3:] = 0  # and it reads three filters of the first
        expected = model(batch)
    assert weights(model, batch) == [(3, 3, 3, 3), (1, 3, 3, 3), (4, 1, 1, 1)]
    assert compiled_difference(model, batch, expected) < ORDER_OF_SUMS


def test_channels_of_a_sum_stay() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.a(x))
            return self.c(torch.relu(x + self.b(x)))

    model, batch = pruned(Sum(), 1.0, empty_filters=0), images(1, 4, 9, 9)
    with torch.no_grad():
        model.a.weight[1] = 0
        model.b.weight[2] = 0
        model.c.weight[:, 3] = 0
        expected = model(batch)
    assert weights(model, batch) == [(4, 4, 3, 3)] * 3
    assert compiled_difference(model, batch, expected) < ORDER_OF_SUMS


def test_norms_activations_and_sums_disappear_into_convolutions() -> None:
    from torchvision.models.resnet import BasicBlock

    model = pruned(nn.Sequential(nn.Conv2d(3, 8, 1), BasicBlock(8, 8), nn.MaxPool2d(2)), 0.5)
    network = trace(model, images(1, 3, 8, 8))
    simplify(network)
    assert [type(op) for op in network.operations] == [Convolution] * 3 + [MaxPool]
    first, _, last, pool = network.operations
    assert isinstance(last, Convolution) and last.residual == first.name
    assert last.activation is None and isinstance(pool, MaxPool) and pool.activation is not None


def test_the_model_itself_is_left_alone() -> None:
    model, batch = pruned(chain(nn.ReLU()), 0.5), images(1, 3, 9, 9)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sparse.compile(model, batch, slower="keep")(batch)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
