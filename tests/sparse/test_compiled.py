"""The compiled module as users meet it: its plan, its limits, its errors."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import Tensor, nn

import harness
from harness import sparse
from harness.errors import ProtocolError
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference


@pytest.fixture(scope="module")
def model() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return pruned(model, 0.5, empty_filters=0)


@pytest.fixture(scope="module")
def fast(model: nn.Module) -> sparse.CompiledNetwork:
    tables = [form for form in sparse.FORMS if not form.startswith("planes")]
    return harness.sparse.compile(model, images(1, 3, 16, 16), only=tables)


def test_any_number_of_images(model: nn.Module, fast: sparse.CompiledNetwork) -> None:
    for count in (1, 2, 5):
        batch = images(count, 3, 16, 16, seed=count)
        with torch.no_grad():
            assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


def test_a_strided_batch_is_read_right(model: nn.Module, fast: sparse.CompiledNetwork) -> None:
    batch = images(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


def test_the_plan_counts_and_names_what_was_measured(fast: sparse.CompiledNetwork) -> None:
    first, second, last = fast.plan.layers
    assert [layer.name for layer in fast.plan.layers] == ["0", "3", "7"]
    assert (first.macs_dense, second.macs_dense, last.macs_dense) == (8 * 27 * 64, 64 * 64, 40)
    for layer in fast.plan.layers:
        assert layer.ms[layer.form] == min(layer.ms.values()) > 0
        assert layer.density == layer.macs_sparse / layer.macs_dense or layer.shape[0] < 8
    assert fast.plan.threads == torch.get_num_threads()
    assert {"rows-bag", "rows-csr", "whole-bag", "whole-csr", "dense"} <= set(first.ms)
    assert {"direct-bag", "direct-csr"} <= set(second.ms) and set(last.ms) == {"csr", "dense"}


def test_the_plan_prints_as_table_and_json(fast: sparse.CompiledNetwork) -> None:
    document = json.loads(fast.plan.to_json())
    assert [layer["form"] for layer in document["layers"]] == [
        layer.form for layer in fast.plan.layers
    ]
    assert document["rows_per_block"].keys() == {"16x16", "8x8", "1x1"}
    lines = fast.plan.table().splitlines()
    assert len(lines) == 2 + len(fast.plan.layers)
    assert lines[2].startswith("| 0 | 8x3x3x3 |")


def test_another_image_size_is_refused(fast: sparse.CompiledNetwork) -> None:
    with pytest.raises(ProtocolError, match=r"compiled for \(N, 3, 16, 16\)"):
        fast(images(1, 3, 32, 32))


def test_no_images_are_refused(fast: sparse.CompiledNetwork) -> None:
    with pytest.raises(ProtocolError, match="at least one image"):
        fast(images(0, 3, 16, 16))


def test_another_type_is_refused(fast: sparse.CompiledNetwork) -> None:
    with pytest.raises(ProtocolError, match="float32 images on the CPU"):
        fast(images(1, 3, 16, 16).double())


def test_training_is_refused(fast: sparse.CompiledNetwork) -> None:
    assert not fast.eval().training
    with pytest.raises(ProtocolError, match="cannot be trained"):
        fast.train()


def test_a_copy_is_the_module_itself(fast: sparse.CompiledNetwork) -> None:
    assert copy.deepcopy(fast) is fast


def test_an_unknown_form_is_refused(model: nn.Module) -> None:
    with pytest.raises(ProtocolError, match="'magic' is no form of a layer; known: planes-4"):
        sparse.compile(model, images(1, 3, 16, 16), only=["magic"])


def test_half_precision_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"weight is torch.bfloat16.*model.float\(\)"):
        sparse.compile(nn.Conv2d(1, 1, 1).bfloat16(), images(1, 1, 4, 4))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Pair(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x + 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Branching(), "Branching cannot be traced by torch.fx .*branches on tensor values"),
        (Pair(), "one input is needed; this one takes: x, y"),
        (Two(), "one float32 tensor as output"),
    ],
)
def test_models_that_cannot_be_followed_are_named(model: nn.Module, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        sparse.compile(model, images(1, 1, 4, 4))
