"""2:4: which layers qualify, what they become; on a GPU also that it computes the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import harness.sparse
from harness.errors import ProtocolError
from harness.sparse import CompilePlan, semi_structured
from harness.sparse.semi_structured import (
    TwoFourNetwork,
    as_matrix,
    as_product,
    compile_two_four,
    eligible,
    follows_pattern,
)
from methods.masks import n_of_m
from tests.sparse.pruned import ORDER_OF_SUMS, images, relative_difference

# float16 keeps 11 bits; sums of a few hundred terms of both sides round differently.
HALF = 1e-2


def two_four(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.data *= n_of_m(layer.weight.data, 2, 4)
    return model.eval()


@pytest.mark.parametrize("layer", [nn.Conv2d(64, 32, 3), nn.Conv2d(64, 32, 1), nn.Linear(64, 32)])
def test_layers_pruned_two_of_four_are_eligible(layer: nn.Module) -> None:
    assert not eligible(layer)  # dense
    assert eligible(two_four(layer))


def test_layers_that_change_their_weight_before_use_are_not_eligible() -> None:
    class Centred(nn.Linear):
        def forward(self, features: Tensor) -> Tensor:
            return nn.functional.linear(features, self.weight - self.weight.mean(), self.bias)

    assert not eligible(two_four(Centred(64, 32)))


def test_one_weight_too_many_breaks_the_pattern() -> None:
    layer = nn.Linear(64, 32)
    layer.weight.data = torch.tensor([1.0, 0.0, 2.0, 0.0]).repeat(32, 16)
    assert follows_pattern(layer.weight)
    layer.weight.data[17, 5] = 3.0
    assert not follows_pattern(layer.weight)


def test_groups_run_along_the_input_channels() -> None:
    weight = torch.zeros(1, 4, 1, 2)
    weight[0, :2] = 1.0  # channels 0 and 1 at both places of the kernel
    assert follows_pattern(weight)
    assert as_matrix(weight).tolist() == [[1, 1, 0, 0, 1, 1, 0, 0]]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(64, 64, 3, groups=2),
        nn.Conv2d(64, 32, 3, dilation=2),
        nn.Conv2d(64, 32, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(64, 32, 3, padding="same"),
        nn.Conv2d(3, 32, 3),
        nn.Linear(64, 10),
        nn.BatchNorm2d(64),
    ],
    ids=str,
)
def test_layers_that_no_kernel_takes_are_not_eligible(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d | nn.Linear):
        layer.weight.data.zero_()
    assert not eligible(layer)


@pytest.mark.parametrize("shape", [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1), ((5, 1), 1, (2, 0))])
def test_a_convolution_as_one_product(shape: tuple) -> None:
    layer, batch = nn.Conv2d(8, 6, *shape), images(2, 8, 9, 11)
    with torch.no_grad():
        product = as_product(layer, lambda matrix: matrix)
        assert relative_difference(product(batch), layer(batch)) < ORDER_OF_SUMS


def test_a_linear_layer_as_one_product() -> None:
    layer, batch = nn.Linear(8, 6), images(2, 3, 8)
    with torch.no_grad():
        assert torch.equal(as_product(layer, lambda matrix: matrix)(batch), layer(batch))


def test_the_cpu_is_refused_with_the_way_out() -> None:
    with pytest.raises(ProtocolError, match="CUDA devices only.*harness.sparse.compile"):
        compile_two_four(two_four(nn.Linear(64, 32)), images(1, 64))


def test_single_precision_is_refused() -> None:
    with pytest.raises(ProtocolError, match="float16 or bfloat16, not torch.float32"):
        compile_two_four(nn.Linear(64, 32), images(1, 64), torch.float32)


def network() -> nn.Module:
    layers = [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 128, 1, stride=2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 32)]
    return two_four(nn.Sequential(*layers, *head))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", semi_structured.DTYPES)
def test_a_compiled_network_computes_the_same_on_a_gpu(dtype: torch.dtype) -> None:
    model, batch = network().cuda(), images(4, 64, 16, 16).cuda()
    fast = compile_two_four(model, batch, dtype)
    assert [layer.name for layer in fast.plan.layers] == ["0", "2", "5"]
    assert all(set(layer.ms) == {"2:4", "dense"} for layer in fast.plan.layers)
    with torch.no_grad():
        found: Tensor = fast(batch)
        assert relative_difference(found, model(batch)) < HALF * (8 if dtype != torch.half else 1)


def test_a_network_in_half_precision_answers_in_the_type_of_its_input() -> None:
    layer = nn.Linear(64, 32)
    fast = TwoFourNetwork(nn.Linear(64, 32).bfloat16(), CompilePlan((), {}, 1), torch.bfloat16)
    fast.network.load_state_dict(layer.state_dict())
    with torch.no_grad():
        found = fast(images(2, 64))
        assert found.dtype == torch.float32
        assert relative_difference(found, layer(images(2, 64))) < HALF


@pytest.mark.gpu
def test_the_way_of_a_gpu_is_chosen_by_where_the_example_lies() -> None:
    model, batch = network().cuda(), images(4, 64, 16, 16).cuda()
    assert isinstance(harness.sparse.compile(model, batch), TwoFourNetwork)
    with pytest.raises(ProtocolError, match="on CUDA there is one: 2:4"):
        harness.sparse.compile(model, batch, only=["csr"])


@pytest.mark.gpu
def test_every_product_computes_the_same_on_a_gpu() -> None:
    model, batch = network().cuda().half(), images(4, 64, 16, 16).cuda().half()
    for layer in (model[0], model[2]):
        product = as_product(layer, torch.sparse.to_sparse_semi_structured)
        with torch.no_grad():
            value = batch.contiguous(memory_format=torch.channels_last)
            assert relative_difference(product(value).float(), layer(value).float()) < HALF


@pytest.mark.gpu
def test_a_dense_model_is_refused_on_a_gpu() -> None:
    with pytest.raises(ProtocolError, match="no layer follows the 2:4 pattern"):
        compile_two_four(nn.Linear(64, 32).cuda(), images(1, 64).cuda())
