"""Thresholds, retraining, weight sharing and size accounting of Deep Compression."""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.checkpoints import squeezenet_net
from methods.base import Schedule
from methods.deep_compression import (
    DeepCompression,
    Widths,
    layer_size,
    percentile_masks,
    relative_index,
    share_weights,
    size_report,
    stage_figures,
    std_masks,
    total_size,
)
from methods.huffman import code_lengths, coded_bits
from tests.methods.ipruning_cases import arrays

STORED = arrays("deepcompression_prune")
NET = "checkpoints/songhan-squeezenet-deep-compression/compressed_SqueezeNet.net"


@pytest.mark.parametrize("case", sorted({key.split("|")[0] for key in STORED}))
def test_threshold_masks_are_the_stored_ones(case: str) -> None:
    rule, value = case.split("_")
    weights = {f"fc{n}": STORED[f"{case}|fc{n}|w"] for n in (1, 2, 3)}

    masks = {"std": std_masks, "pct": percentile_masks}[rule](weights, float(value))

    for name, mask in masks.items():
        assert torch.equal(mask.to(torch.uint8), STORED[f"{case}|{name}|mask"])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.floats(0, 100), st.integers(0, 2**31))
def test_the_percentile_is_that_of_numpy(size: int, percent: float, seed: int) -> None:
    weight = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    magnitudes = weight.abs().double().numpy()

    mask = percentile_masks({"w": weight}, percent)["w"]

    threshold = np.percentile(magnitudes, percent)
    clear = np.abs(magnitudes - threshold) > 1e-9  # at the threshold itself rounding decides
    assert (mask.numpy() == (magnitudes >= threshold))[clear].all()


def test_weights_at_zero_take_no_part_in_the_percentile() -> None:
    weight = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 3.0])

    assert percentile_masks({"w": weight}, 50)["w"].tolist() == [False] * 4 + [True] * 2


def test_impossible_percentiles_are_refused() -> None:
    with pytest.raises(ValueError, match=r"percentile 101 is outside"):
        percentile_masks({"w": torch.ones(3)}, 101)
    with pytest.raises(ValueError, match="every weight is zero"):
        percentile_masks({"w": torch.zeros(3)}, 50)


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 10))


def retrained(**chosen: object) -> tuple[DeepCompression, nn.Sequential]:
    """Four epochs of one step each."""
    method = DeepCompression(DeepCompression.Settings(**chosen))
    model = small_net()
    method.attach(model, Schedule(epochs=4, steps_per_epoch=1))
    optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=1e-4)
    for epoch in range(4):
        method.begin_epoch(epoch)
        model(torch.randn(3, 1, 4, 4)).square().sum().backward()
        method.after_backward()
        optimizer.step()
        method.after_step()
    return method, model


def test_retraining_moves_survivors_and_keeps_the_rest_at_zero() -> None:
    method, model = retrained(sparsity=0.5)
    start = percentile_masks({"0": small_net()[0].weight, "2": small_net()[2].weight}, 50)

    for name, mask in start.items():
        weight = model[int(name)].weight
        assert torch.equal(method.masks[name], mask)
        assert torch.equal(weight != 0, mask)
        assert not torch.equal(weight, small_net()[int(name)].weight * mask)


def test_pruning_waits_for_its_epoch() -> None:
    method = DeepCompression(DeepCompression.Settings(rule="std", sensitivity=1.0, prune_epoch=2))
    model = small_net()
    method.attach(model, Schedule(epochs=4, steps_per_epoch=1))

    zeros = []
    for epoch in range(4):
        method.begin_epoch(epoch)
        zeros.append(int((model[2].weight == 0).sum()))

    assert zeros[0] == zeros[1] == 0 < zeros[2] == zeros[3]


def test_one_shot_pruning_hits_the_sparsity_exactly() -> None:
    model = small_net()

    DeepCompression(DeepCompression.Settings()).prune(model, 0.75)

    nonzero = sum(int(model[n].weight.count_nonzero()) for n in (0, 2))
    assert nonzero == (36 + 160) // 4


def test_training_without_a_sparsity_is_refused() -> None:
    method = DeepCompression(DeepCompression.Settings())

    with pytest.raises(ValueError, match="no sparsity to train at"):
        method.attach(small_net(), Schedule(epochs=1, steps_per_epoch=1))


def test_the_final_network_has_shared_weights() -> None:
    method, model = retrained(sparsity=0.5, share_bits=3)

    final = method.finalize(model)

    weight = final[2].weight
    assert len(weight[weight != 0].unique()) <= 7
    assert torch.equal(weight != 0, method.masks["2"])
    assert size_report({"w": weight}, 3)[0].shared_bytes is not None


def test_shared_values_are_the_means_of_their_members() -> None:
    weight = torch.tensor([[0.0, 1.0, 1.2, 5.0], [5.4, 0.0, -3.0, -3.2]])

    shared = share_weights(weight, 2)

    expected = torch.tensor([[0.0, 1.1, 1.1, 5.2], [5.2, 0.0, -3.1, -3.1]])
    torch.testing.assert_close(shared, expected, rtol=0, atol=1e-6)  # float32 means
    assert torch.equal(share_weights(weight, 2), shared)


@settings(deadline=None, max_examples=10)
@given(st.integers(20, 300), st.integers(1, 4), st.integers(0, 2**31))
def test_every_shared_value_is_the_nearest_centroid(size: int, bits: int, seed: int) -> None:
    weight = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    weight[: size // 3] = 0

    shared = share_weights(weight, bits)

    centroids = shared[shared != 0].unique()
    assert len(centroids) <= 2**bits - 1
    assert torch.equal(shared == 0, weight == 0)
    distance = (weight[weight != 0][:, None] - centroids).abs()
    own = (weight - shared).abs()[weight != 0]
    assert (own <= distance.amin(1) + 1e-6).all()  # float32 means


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_huffman_lengths_fill_a_prefix_tree_and_are_within_one_bit_of_entropy(
    counts: list[int],
) -> None:
    lengths = code_lengths(counts)
    used = [(c, n) for c, n in zip(counts, lengths, strict=True) if c]
    total = sum(counts)

    assert all((length > 0) == (count > 0) for count, length in zip(counts, lengths, strict=True))
    if len(used) > 1:
        assert sum(2.0**-n for _, n in used) == 1.0
        entropy = -sum(c * math.log2(c / total) for c, _ in used)
        assert entropy - 1e-6 <= coded_bits(counts) < entropy + total


def test_huffman_lengths_of_a_worked_example() -> None:
    assert code_lengths([45, 13, 12, 16, 9, 5]) == [1, 3, 3, 3, 4, 4]
    assert coded_bits([45, 13, 12, 16, 9, 5]) == 224
    assert code_lengths([0, 7, 0]) == [0, 1, 0]
    assert coded_bits([0, 0]) == 0


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 3)), max_size=12), st.integers(0, 40))
def test_gaps_lead_back_to_every_position(steps: list[tuple[int, int]], tail: int) -> None:
    places = np.cumsum([step for step, _ in steps], dtype=np.int64) - 1
    flat = torch.zeros(int(places[-1]) + 1 + tail if steps else tail + 1)
    flat[torch.from_numpy(places)] = torch.tensor([float(value) for _, value in steps])

    gaps, positions = relative_index(flat)

    visited = (gaps + 1).cumsum(0) - 1
    assert visited[positions].tolist() == places.tolist()
    assert gaps.numel() == 0 or 0 <= gaps.min() <= gaps.max() <= 15
    assert len(gaps) == sum(1 + (step - 1) // 16 for step, _ in steps)


def test_sizes_of_a_hand_counted_layer() -> None:
    """40 weights, 3 kept at 0, 1 and 36: two bridges. Codes 1,2,0,0,1: the bridges' code is 0."""
    weight = torch.zeros(5, 8)
    weight.view(-1)[torch.tensor([0, 1, 36])] = torch.tensor([0.5, 2.0, 0.5])

    size = layer_size("w", weight, 2)

    assert (size.weights, size.nonzero, size.entries) == (40, 3, 5)  # 35 = 16 + 16 + 3
    assert (size.dense_bytes, size.pruned_bytes) == (160, 20 + 3)
    assert size.shared_bytes == 2 + 3 + 16
    codes = Counter([1, 2, 0, 0, 1])  # lengths 1, 2, 2: 8 bits; gaps 0,0,15,15,2 likewise
    assert coded_bits(list(codes.values())) == 8
    assert size.huffman_bytes == 1 + 1 + 16 + 4 + 16


def test_unshared_weights_have_no_shared_size_and_vectors_stay_float() -> None:
    weights = {"w": torch.randn(10, 10), "b": torch.randn(3), "n": torch.tensor(4)}

    rows = size_report(weights, 4)

    assert [row.name for row in rows] == ["w", "b"]
    assert rows[0].shared_bytes is None and rows[0].huffman_bytes is None
    assert rows[1].huffman_bytes == rows[1].dense_bytes == 12
    total = total_size(rows)
    assert total.shared_bytes is None and total.dense_bytes == 412


@pytest.mark.realdata
def test_the_published_squeezenet_is_accounted_to_its_own_file_size() -> None:
    path = Path(os.environ.get("BENCH_DATA_ROOT", "")) / NET
    if not path.is_file():
        pytest.skip(f"BENCH_DATA_ROOT has no {NET}")
    data = path.read_bytes()
    weights = squeezenet_net.decode(data)

    rows = size_report(weights, bits=8)

    header = np.frombuffer(data, "<u4", 26)
    assert [row.entries for row in rows if row.name.endswith("weight")] == header.tolist()
    total = total_size(rows)
    assert total.shared_bytes is not None and total.huffman_bytes is not None
    assert total.shared_bytes + header.nbytes == len(data)
    assert total.huffman_bytes < total.shared_bytes < total.pruned_bytes < total.dense_bytes


def shared_net(**chosen: object) -> tuple[DeepCompression, nn.Sequential]:
    """A pruned network after its first epoch began by rule "zeros"."""
    model = small_net()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight[layer.weight.abs() < 0.1] = 0
    method = DeepCompression(DeepCompression.Settings(rule="zeros", share_bits=2, **chosen))
    method.attach(model, Schedule(epochs=2, steps_per_epoch=1))
    method.begin_epoch(0)
    return method, model


def step(method: DeepCompression, model: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(3, 1, 4, 4)).square().sum().backward()
    method.after_backward()
    optimizer.step()
    method.after_step()


def test_training_moves_shared_values_together_and_zeros_stay() -> None:
    method, model = shared_net(layer_bits={"2": 3})
    weight, zeros = model[2].weight, model[2].weight == 0
    groups = weight.detach().unique()
    assert len(groups) == 2**3 and len(model[0].weight.unique()) == 2**2
    members = [weight == value for value in groups]
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    before = weight.detach().clone()
    model(torch.ones(3, 1, 4, 4)).square().sum().backward()
    raw = weight.grad.clone()
    optimizer.zero_grad()
    step(method, model, optimizer)
    for where in members:
        if not (where & zeros).any():
            assert len(weight[where].unique()) == 1
            moved = (before - weight)[where][0] / 1e-3
            torch.testing.assert_close(moved, raw[where].sum(), rtol=1e-3, atol=1e-4)
    assert torch.equal(weight == 0, zeros)
    step(method, model, optimizer)
    assert len(weight.unique()) == 2**3


def test_a_resumed_run_knows_which_weights_belong_together() -> None:
    method, model = shared_net()
    other, copy = shared_net()
    copy.load_state_dict(model.state_dict())
    other.load_state_dict(method.state_dict())
    for each, its in ((method, model), (other, copy)):
        step(each, its, torch.optim.SGD(its.parameters(), 0.01))
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), copy.parameters(), strict=True)
    )


def test_figures_of_stages_follow_the_papers_arithmetic() -> None:
    """Without long gaps a layer takes density x (code + gap) / 32 of float32, and its codebook."""
    weight = torch.zeros(1000)
    weight[::4] = torch.arange(250) % 63 + 1.0  # 63 values and the zero: all 6-bit codes
    model = nn.Sequential(nn.Linear(100, 10))
    with torch.no_grad():
        model[0].weight.copy_(weight.view(10, 100))
    figures = stage_figures(model, Widths(6, gap=5))
    assert figures["shared_pct"] == pytest.approx(100 * (0.25 * 11 / 32 + 64 / 1000), abs=0.05)
    assert (figures["weight_bits"], figures["index_bits.0"]) == (6.0, 5.0)
    assert figures["huffman_index_bits"] == pytest.approx(1.0, abs=0.01)  # one gap but the first
    assert 5.9 < figures["huffman_weight_bits"] <= 6.0  # 63 values almost equally often
    bias = 40
    assert figures["size_kb"] == pytest.approx(figures["huffman_pct"] * 40 / 1000 + bias / 1000)
    assert figures["compression_ratio"] == pytest.approx(4.040 / figures["size_kb"])


@given(st.lists(st.integers(0, 400), unique=True, min_size=1, max_size=30), st.integers(1, 8))
def test_gaps_of_any_width_lead_back_to_the_positions(places: list[int], gap_bits: int) -> None:
    flat = torch.zeros(401)
    flat[places] = 1.0
    gaps, positions = relative_index(flat, gap_bits)
    assert gaps.max() < 2**gap_bits
    assert ((gaps + 1).cumsum(0) - 1)[positions].tolist() == sorted(places)
