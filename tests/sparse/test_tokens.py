"""Networks of tokens: linear layers over rows, with attention, GELU, LayerNorm and batches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import sparse
from harness.sparse.native_kernels import kernels
from harness.sparse.operation_graph import Linear
from harness.sparse.token_product import Scratch, TokenProduct
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
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 2, 3]))
def test_any_number_of_rows_and_features_gives_the_same(
    rows: int, channels: int, filters: int, threads: int
) -> None:
    weight = images(filters, channels) * (images(filters, channels, seed=2) > 0)
    linear = Linear("layer", "layer", "x", weight, images(filters, seed=3))
    found = kernels()
    assert found is not None
    scratch = Scratch()
    product, other = (TokenProduct(linear, found, threads, scratch) for _ in range(2))
    for count in (rows, rows + 1, rows):
        features = images(count, channels, seed=count)
        expected = F.linear(features, weight, linear.bias)
        assert relative_difference(product(features), expected) < ORDER_OF_SUMS
        features = images(channels, count, seed=count).t()  # rows of another layout
        expected = F.linear(features, weight, linear.bias)
        assert relative_difference(other(features), expected) < ORDER_OF_SUMS
