"""Products are counted with the weight they multiply by, whichever module makes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from harness.errors import MetricError
from harness.profile.cost import measure_cost
from harness.profile.macs import dense_macs

IMAGE = (3, 8, 8)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))


class Tokens(nn.Module):
    """Sixteen tokens of width 12: a 2x2 patch of three channels each, mixed by `body`."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        return self.body(F.pixel_unshuffle(images, 2).flatten(2).transpose(1, 2))


class Attention(nn.Module):
    """Self-attention, by torch's module."""

    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(12, 3, batch_first=True)
        self.options = options

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens, tokens, tokens, **self.options)[0]


class Borrowed(nn.Module):
    """Multiplies by another module's matrix, cut in two, and by a table of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(12, 24)
        self.table = nn.Parameter(torch.randn(12, 7))

    def forward(self, tokens: Tensor) -> Tensor:
        q, k = (F.linear(tokens, part) for part in self.qkv.weight.chunk(2))
        scores = torch.einsum("bqc,bkc->bqk", q, k)
        return torch.cat([scores @ tokens, q @ self.table], 2)


class Conditional(nn.Module):
    """A convolution whose kernel is mixed from four, by shares that depend on the image."""

    def __init__(self) -> None:
        super().__init__()
        self.routing = nn.Linear(3, 4)
        self.weight = nn.Parameter(torch.randn(4, 5 * 3 * 3 * 3))

    def forward(self, images: Tensor) -> Tensor:
        shares = torch.sigmoid(self.routing(images.mean((2, 3))))
        kernel = torch.matmul(shares, self.weight).view(5, 3, 3, 3)
        return F.conv2d(images, kernel, padding=1)


class Standardised(nn.Conv2d):
    """Works out its kernel before use."""

    def forward(self, images: Tensor) -> Tensor:
        kernel = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(images, kernel / kernel.std(), self.bias, padding="same")


class Halves(nn.Module):
    """Says what it computes only while training."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.auxiliary = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            return self.main(images) + self.auxiliary(images)
        return self.main(images)


@pytest.mark.parametrize("options", [{"need_weights": True}, {"need_weights": False}])
def test_fused_attention_counts_its_projections_and_its_products(options) -> None:
    found = dense_macs(Tokens(Attention(**options)), IMAGE)
    assert found.per_layer == {
        "body.inner.in_proj": 16 * 36 * 12,
        "body.inner.out_proj": 16 * 12 * 12,
    }
    assert found.activations == 2 * 16 * 16 * 12
    assert found.unsupported == {}


def test_a_borrowed_matrix_counts_for_its_owner_and_a_table_as_activations() -> None:
    found = dense_macs(Tokens(Borrowed()), IMAGE)
    assert found.per_layer == {"body.qkv": 16 * 24 * 12}
    assert found.activations == 2 * 16 * 16 * 12 + 16 * 12 * 7
    assert found.unsupported == {}


def test_recurrent_matrices_count_once_per_step() -> None:
    class Last(nn.LSTM):
        def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(tokens)[0]

    found = dense_macs(Tokens(Last(12, 5, batch_first=True, bidirectional=True)), IMAGE)
    one = {"weight_ih_l0": 16 * 20 * 12, "weight_hh_l0": 16 * 20 * 5}
    both = {f"body.{name}{end}": n for end in ("", "_reverse") for name, n in one.items()}
    assert found.per_layer == both


def test_one_matrix_in_two_places_counts_both_uses() -> None:
    body = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 12))
    body[2].weight = body[0].weight
    assert dense_macs(Tokens(body), IMAGE).per_layer == {"body.0": 2 * 16 * 12 * 12}


def test_convolutions_of_every_form_are_counted() -> None:
    model = nn.Sequential(
        Standardised(3, 4, 3),
        nn.Conv2d(4, 4, 3, padding="same", groups=2),
        nn.ConvTranspose2d(4, 6, 2, stride=2),
        weight_norm(nn.Conv2d(6, 2, 1)),
        nn.Flatten(2),
        nn.Conv1d(2, 3, 5),
    )
    found = dense_macs(model, IMAGE)
    assert found.per_layer == {
        "0": 64 * 4 * 3 * 9,
        "1": 64 * 4 * 2 * 9,
        "2": 64 * 4 * 6 * 4,  # each input position is multiplied by the whole kernel
        "3": 256 * 2 * 6,
        "5": 252 * 3 * 2 * 5,
    }
    assert found.unsupported == {}


def test_a_mixed_kernel_has_a_weight_where_any_of_its_bank_has_one() -> None:
    model = Conditional()
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, :20] = model.weight[3, 10:30] = 1.0
    cost = measure_cost(model, IMAGE)
    bank = {row.name: row for row in cost.layers}[""]
    assert (bank.kind, bank.nnz, bank.total) == ("bank", 40, 4 * 135)
    assert bank.macs_dense == 4 * 135 + 64 * 135
    assert bank.macs_effective == 40 + 64 * 30


def test_a_layer_that_never_runs_says_so() -> None:
    found = dense_macs(Halves(), IMAGE)
    assert found.per_layer == {"main": 64 * 12}
    assert found.uncounted == {"auxiliary": "never runs in eval"}
    assert found.unsupported == {}


class Hidden(nn.Module):
    """A product that no handle knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cdist(self.first(images).flatten(2), torch.ones(1, 6, 64))


def test_operations_that_may_hide_products_are_named_and_not_judged() -> None:
    cost = measure_cost(Hidden(), IMAGE)
    assert cost.unsupported == ("aten::cdist",)
    with pytest.raises(MetricError, match="no count of multiply-accumulates is known for aten::c"):
        measure_cost(Hidden(), IMAGE, judged=True)


class Own(nn.Module):
    """A matrix that is read by elementwise operations only."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weight[:, :, None]).sum((1, 2))


def test_a_weight_that_no_product_reads_is_named() -> None:
    found = dense_macs(nn.Sequential(nn.Conv2d(3, 3, 1), Own()), IMAGE)
    assert found.uncounted == {"1": "read by aten::mul, which has no count"}
    assert found.unsupported == {"aten::mul of 1": 1}


def test_cost_lists_what_lies_outside_and_what_a_method_leaves_alone() -> None:
    model = Tokens(nn.Sequential(Attention(), nn.LayerNorm(12)))
    cost = measure_cost(model, IMAGE, settings={"exclude": ("*.v", "*out_proj")})
    assert cost.left_out == ("body.0.inner.in_proj.v", "body.0.inner.out_proj")
    assert {row.kind: row.params for row in cost.outside} == {"bias": 48, "norm": 24}
    assert cost.total + 48 + 24 == cost.params
    assert cost.macs_activations == 2 * 16 * 16 * 12
