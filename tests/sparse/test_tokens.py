"""Networks of tokens: linear layers over rows, with attention, GELU, LayerNorm and batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import sparse
from harness.sparse.native.kernels import kernels
from harness.sparse.operation_graph import Linear
from harness.sparse.planes.token_chains import chained
from harness.sparse.planes.token_product import Scratch, TokenProduct
from harness.sparse.rewriting import simplify
from harness.sparse.tracing import trace
from methods.inventory import prunable_weights
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference

pytest.importorskip("llvmlite")


class Attention(nn.Module):
    """Queries, keys and values by one layer, as in timm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.between = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return x + self.mlp(self.between(x))


class Transformer(nn.Module):
    """Patches, blocks, the mean of the tokens, classes."""

    def __init__(self, width: int, heads: int, patch: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.Sequential(Block(width, heads), Block(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        return self.head(self.norm(x).mean(1))


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_a_transformer_computes_the_same_in_any_batch(data: st.DataObject) -> None:
    heads = data.draw(st.sampled_from([1, 2]))
    width, patch = 8 * heads, data.draw(st.sampled_from([3, 4, 8]))
    density = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    model = pruned(Transformer(width, heads, patch), density)
    size = (3, patch * data.draw(st.integers(1, 5)), patch * data.draw(st.integers(1, 5)))
    only = data.draw(st.sampled_from([None, ["planes-4", "planes-8"], ["dense", "rows-bag"]]))
    tuned = data.draw(st.integers(1, 3))
    fast = sparse.compile(model, images(tuned, *size), only=only, slower="keep")
    batch = images(data.draw(st.integers(1, 4)), *size)
    with torch.inference_mode():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


def test_the_plan_counts_every_token() -> None:
    model = pruned(Transformer(8, 1, 4), 0.2)
    plan = sparse.compile(model, images(2, 3, 8, 12), slower="keep").plan
    found = {layer.name: layer for layer in plan.layers}
    qkv = model.blocks[0].attention.qkv.weight
    layer = found["blocks.0.attention.qkv"]
    assert (layer.macs_dense, layer.macs_sparse) == (6 * 24 * 8, 6 * int(qkv.count_nonzero()))
    assert found["head"].macs_dense == 5 * 8
    assert set(layer.ms) == {"csr", "dense", "planes-8"}


def test_a_result_stays_when_the_next_one_is_computed() -> None:
    model, batch = pruned(nn.Sequential(nn.Linear(12, 5)), 0.3), images(2, 7, 12)
    fast = sparse.compile(model, batch, only=["planes-8"])
    first = fast(batch)
    kept = first.clone()
    fast(-batch)
    assert torch.equal(first, kept)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 2, 3]),
    st.booleans(),
)  # fmt: skip
def test_any_number_of_rows_and_features_gives_the_same(
    rows: int, channels: int, filters: int, threads: int, gelu: bool
) -> None:
    weight = images(filters, channels) * (images(filters, channels, seed=2) > 0)
    linear = Linear("layer", "layer", "x", weight, images(filters, seed=3), gelu)
    after = F.gelu if gelu else nn.Identity()
    found = kernels()
    assert found is not None
    scratch = Scratch()
    product, other = (TokenProduct([linear], found, threads, scratch) for _ in range(2))
    for count in (rows, rows + 1, rows):
        features = images(count, channels, seed=count)
        expected = after(F.linear(features, weight, linear.bias))
        assert relative_difference(product(features), expected) < ORDER_OF_SUMS
        features = images(channels, count, seed=count).t()  # rows of another layout
        expected = after(F.linear(features, weight, linear.bias))
        assert relative_difference(other(features), expected) < ORDER_OF_SUMS
        residual = images(filters, count, seed=4).t()
        summed = other(features, residual)
        assert relative_difference(summed, expected + residual) < ORDER_OF_SUMS
        one = residual[:1]  # of another shape: the same row for all
        assert relative_difference(other(features, one), expected + one) < ORDER_OF_SUMS


def linears(model: nn.Module, batch: Tensor, form: str = "planes-8") -> list[Linear]:
    """The linear operations of a program in which every layer has one form."""
    network = trace(model, batch[:1])
    simplify(network)
    names = [op.name for op in network.operations if isinstance(op, Linear)]
    made, chains = chained(network, dict.fromkeys(names, form))
    left = [op for op in made.operations if isinstance(op, Linear)]
    assert [op.name for op in left] == list(chains)
    return left


class Chain(nn.Module):
    """Layers after each other, with a sum around them; `peek` reads between the first two."""

    def __init__(self, widths: list[int], gelus: list[bool], peek: bool) -> None:
        super().__init__()
        pairs = zip(widths, widths[1:], strict=False)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairs)
        self.gelus, self.peek = gelus, peek

    def forward(self, x: Tensor) -> Tensor:
        y, seen = x, x.sum((1, 2), keepdim=True)
        for place, layer in enumerate(self.layers):
            y = F.gelu(layer(y)) if self.gelus[place] else layer(y)
            if place == 0 and self.peek:
                seen = y.sum((1, 2), keepdim=True)
        return x + y + seen


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_layers_after_each_other_are_one_run_on_planes(data: st.DataObject) -> None:
    count, width = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 20))
    inner = data.draw(st.lists(st.integers(1, 40), min_size=count - 1, max_size=count - 1))
    gelus = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    peek = data.draw(st.booleans())
    model = pruned(Chain([width, *inner, width], gelus, peek), 0.5)
    batch = images(2, data.draw(st.integers(1, 20)), width)
    apart = peek and count > 1
    assert len(linears(model, batch)) == (2 if apart else 1)
    assert len(linears(model, batch, "dense")) == count
    only = data.draw(st.sampled_from([["planes-8"], ["dense"], ["rows-csr"]]))
    fast = sparse.compile(model, batch, only=only)
    for given_batch in (batch, batch[:1]):
        with torch.inference_mode():
            expected = model(given_batch)
            assert relative_difference(fast(given_batch), expected) < ORDER_OF_SUMS


def test_a_sum_with_what_is_the_same_for_every_image_stays_right_in_any_batch() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.place = nn.Linear(6, 6), nn.Parameter(images(1, 5, 6))

        def forward(self, x: Tensor) -> Tensor:
            return self.place + self.layer(x)

    model, batch = pruned(Placed(), 0.5), images(3, 5, 6)
    (layer,) = linears(model, batch)
    assert layer.residual is not None  # one image alone does not tell it from a value of its own
    for only in (["planes-8"], ["dense"]):
        fast = sparse.compile(model, batch[:1], only=only)
        with torch.inference_mode():
            assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


class Encoder(nn.Module):
    """A block as in torchvision, with PyTorch's own attention."""

    def __init__(self, width: int, heads: int, weights: bool = False) -> None:
        super().__init__()
        self.norm, self.weights = nn.LayerNorm(width), weights
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 9), nn.GELU(), nn.Linear(9, 5))
        nn.init.normal_(self.attention.in_proj_bias)
        nn.init.normal_(self.attention.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        mixed, weights = self.attention(x, x, x, need_weights=self.weights)
        mixed = mixed + weights.mean() if self.weights else mixed
        return self.mlp(x + mixed)


def encoder(width: int, heads: int, weights: bool = False) -> Encoder:
    made = pruned(Encoder(width, heads, weights), 0.4)
    assert isinstance(made, Encoder)
    fused = made.attention.in_proj_weight.data
    fused *= images(*fused.shape, seed=3) > 0.5
    return made


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 2, 4]), st.integers(1, 40), st.sampled_from([1, 3]))
def test_torchs_own_attention_skips_its_zeros(heads: int, tokens: int, tuned: int) -> None:
    model = encoder(4 * heads, heads)
    fast = sparse.compile(model, images(tuned, tokens, 4 * heads), only=["planes-8"])
    layers = {layer.name: layer for layer in fast.plan.layers}
    assert set(layers) == {name for name in prunable_weights(model)}
    nnz = int(model.attention.in_proj_weight.count_nonzero())
    assert layers["attention.in_proj"].macs_sparse == tokens * nnz
    for count in (1, 4):
        batch = images(count, tokens, 4 * heads)
        with torch.inference_mode():
            assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


def test_attention_whose_weights_are_read_stays_whole() -> None:
    model, batch = encoder(8, 2, weights=True), images(2, 6, 8)
    fast = sparse.compile(model, batch, slower="keep")
    assert {layer.name for layer in fast.plan.layers} == {"mlp.0", "mlp.2"}
    with torch.inference_mode():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS


def test_attention_is_saved_with_the_network(tmp_path: Path) -> None:
    model, batch = encoder(8, 2), images(2, 6, 8)
    fast = sparse.compile(model, batch, only=["planes-8"])
    fast.save(tmp_path / "net.sparse")
    assert torch.equal(sparse.load(tmp_path / "net.sparse")(batch), fast(batch))


def test_gelu_is_right_far_out_and_near_zero() -> None:
    found = kernels()
    assert found is not None
    same = TokenProduct([Linear("a", "a", "x", torch.eye(4), torch.zeros(4), True)], found, 1)
    far = torch.tensor([0.0, 1e-30, -1e-30, 100.0, -100.0, 1e38, -1e38, 13.0])
    x = torch.cat([torch.linspace(-15, 15, 4096), far]).view(-1, 4)
    assert torch.allclose(same(x), F.gelu(x.double()).float(), rtol=3e-7, atol=1e-6)
    assert same(torch.tensor([[1.0, float("nan"), 1.0, 2.0]]))[0, 1].isnan()


class TwoReaders(nn.Module):
    """A linear layer with a GELU, whose sum is perhaps read beside it too."""

    def __init__(self, gelu: nn.Module, twice: bool) -> None:
        super().__init__()
        self.layer, self.gelu, self.twice = nn.Linear(6, 4), gelu, twice

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return self.gelu(y) + y if self.twice else self.gelu(y)


@pytest.mark.parametrize("only", [["planes-8"], ["dense"], ["rows-csr"]])
@pytest.mark.parametrize(
    ("gelu", "twice", "fused"),
    [(nn.GELU(), False, True), (nn.GELU(), True, False), (nn.GELU("tanh"), False, False)],
)
def test_a_gelu_is_part_of_the_layer_that_nobody_else_reads(
    gelu: nn.Module, twice: bool, fused: bool, only: list[str]
) -> None:
    model, batch = pruned(TwoReaders(gelu, twice), 0.5), images(2, 3, 6)
    network = trace(model, batch[:1])
    simplify(network)
    (layer,) = (op for op in network.operations if isinstance(op, Linear))
    assert layer.gelu is fused
    fast = sparse.compile(model, batch, only=only)
    with torch.inference_mode():
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS
