"""Zeros counted by hand and by brute force, of plain, transposed and masked weights."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.profile.zeros import SparsityProfile, sparsity


class Masked(nn.Module):
    """A weight that is multiplied by a mask before it is used."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def test_zeros_of_the_mask_count_and_zeros_as_stored_are_told_beside_them() -> None:
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(1.0)[0, 0] = 0.0
    mask = torch.ones(3, 4)
    mask[1:] = 0.0
    parametrize.register_parametrization(model[0], "weight", Masked(mask))
    masked, plain = sparsity(model).layers
    assert (masked.nnz, masked.nnz_stored, masked.dead_filters) == (3, 11, 2)
    assert (plain.nnz, plain.nnz_stored, plain.dead_filters) == (6, None, 0)


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_dead_filters_of_a_transposed_convolution_are_those_that_nothing_reaches(
    groups: int,
) -> None:
    inputs, outputs = 4, 5  # of each group
    layer = nn.ConvTranspose2d(groups * inputs, groups * outputs, 2, groups=groups)
    torch.manual_seed(groups)
    with torch.no_grad():
        layer.weight.mul_(torch.rand(groups * inputs, outputs, 1, 1) < 0.3)
        if groups > 1:
            layer.weight[:inputs, 1:3] = 0
    picture = torch.ones(1, groups * inputs, 3, 3)
    with torch.no_grad():
        reached = nn.functional.conv_transpose2d(picture, layer.weight.abs(), groups=groups)
    [found] = sparsity(nn.Sequential(layer)).layers
    assert found.dead_filters == int((reached.amax((0, 2, 3)) == 0).sum())
    by_hand = sum(
        not layer.weight[group * inputs : (group + 1) * inputs, place].any()
        for group, place in product(range(groups), range(outputs))
    )
    assert found.dead_filters == by_hand


def test_a_network_without_weights_has_no_zeros() -> None:
    assert SparsityProfile((), 0).sparsity() == 0.0
    assert sparsity(nn.ReLU()).counts() == (0, 0)
