"""Ising and margin energies against stored numbers and brute force."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from methods.ipruning.candidate_masks import (
    MaskedParameters,
    candidate_logits,
    mean_activations,
)
from methods.ipruning.energy import (
    Interaction,
    activity_entropy,
    build_interaction,
    classification_margin,
    gray_bins,
    ising_energy,
    margin_energy,
)
from methods.ipruning.filter_layout import describe, kept_ratio
from methods.ipruning.redundancy import (
    Redundancies,
    kernels_of,
    raw_divergence,
    redundancy_block,
)
from methods.ipruning.released import float32_gray_levels
from tests.methods.ipruning_cases import TinyNet, arrays, stored_tinynet

ATOL_STORED = 1e-5  # the stored blocks come from float32 covariances
RTOL_RAW = 1e-8  # stored divergences are float64
ATOL_ZERO_DIVERGENCE = 1e-11  # a filter from itself: cancellation of float64 terms of size 10
RTOL_ENERGY = 1e-6  # stored energies come from a float32 interaction
RTOL_FLOAT64 = 1e-12  # order of summation

KL, ENTROPY, ISING = arrays("kl_layers"), arrays("entropy_layers"), arrays("ising_energy")


@pytest.mark.parametrize("case", ["sq3", "wide3", "one1", "gray3"])
def test_the_released_redundancy_block_is_the_stored_one(case: str) -> None:
    block = redundancy_block(kernels_of(KL[f"{case}_weight"], "reshaped"))

    expected = KL[f"{case}_official"].double()
    torch.testing.assert_close(block, expected, rtol=0, atol=ATOL_STORED)


@pytest.mark.parametrize("case", ["sq3", "wide3", "one1"])
def test_divergences_of_true_filters_are_the_stored_ones(case: str) -> None:
    raw = raw_divergence(kernels_of(KL[f"{case}_weight"]))

    expected = KL[f"{case}_filterwise_raw_f64"]
    torch.testing.assert_close(raw, expected, rtol=RTOL_RAW, atol=ATOL_ZERO_DIVERGENCE)


def test_a_one_channel_stem_is_degenerate_as_in_the_paper_code() -> None:
    block = redundancy_block(kernels_of(KL["gray3_weight"]))

    assert torch.equal(block, 0.5 * (1 - torch.eye(6, dtype=torch.float64)))


def test_rank_deficient_stems_use_the_pseudo_inverse_and_no_determinant() -> None:
    weight = torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    kernels = kernels_of(weight)

    raw = raw_divergence(kernels)

    for i in range(5):
        for j in range(5):
            first, second = (torch.cov(kernels[k].T) for k in (i, j))
            inverse = torch.linalg.pinv(second, rtol=1e-10, hermitian=True)
            shift = kernels[j].mean(0) - kernels[i].mean(0)
            expected = 0.5 * ((inverse @ first).trace() + shift @ inverse @ shift - 9)
            torch.testing.assert_close(raw[i, j], expected, rtol=RTOL_RAW, atol=1e-9)


def test_a_zero_filter_gives_finite_divergences() -> None:
    weight = torch.randn(4, 12, 3, 3, generator=torch.Generator().manual_seed(0))
    weight[2] = 0

    block = redundancy_block(kernels_of(weight))

    assert torch.isfinite(block).all() and block.max() <= 1


@pytest.mark.parametrize("extreme", [0.0, math.inf, -math.inf])
def test_sums_over_pairs_are_those_over_the_scaled_blocks(extreme: float) -> None:
    generator = torch.Generator().manual_seed(0)
    upper = torch.randn(2, 5, 5, dtype=torch.float64, generator=generator).triu()
    upper[1] = 0.0  # nothing differs
    upper[0, 1, 3] = extreme or upper[0, 1, 3]
    low, high = upper.amin((1, 2)), upper.amax((1, 2))
    bits = torch.tensor([[0, 1, 2, 3, 4], [6, 7, 8, 9, 10]])
    found = Redundancies(bits, upper, low, torch.maximum(high, -low))
    states = (torch.rand(7, 12, generator=generator) < 0.5).to(torch.uint8)

    scaled = ((upper - low[:, None, None]) / found.scale[:, None, None]).nan_to_num(nan=0.0)
    blocks = (scaled + scaled.mT) / 2 if not extreme else torch.zeros_like(scaled)
    assert torch.equal(found.blocks(), blocks)
    expected = sum(
        ((part := states[:, positions].double()) @ block * part).sum(1)
        for positions, block in zip(bits, blocks, strict=True)
    )
    torch.testing.assert_close(found.quadratic(states), expected, rtol=RTOL_FLOAT64, atol=1e-12)
    torch.testing.assert_close(found.total(), blocks.sum(), rtol=RTOL_FLOAT64, atol=1e-12)


def test_redundancy_blocks_of_stacked_layers_equal_single_ones() -> None:
    weights = torch.randn(3, 6, 12, 3, 3, generator=torch.Generator().manual_seed(0))

    stacked = redundancy_block(kernels_of(weights))

    for weight, block in zip(weights, stacked, strict=True):
        torch.testing.assert_close(block, redundancy_block(kernels_of(weight)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("group", sorted(k[:-4] for k in ENTROPY if k.endswith("|act")))
def test_entropies_are_the_stored_ones(group: str) -> None:
    entropy = activity_entropy(ENTROPY[f"{group}|act"].mean(0))

    expected = ENTROPY[f"{group}|entropy"].double()
    torch.testing.assert_close(entropy, expected, rtol=0, atol=ATOL_STORED)


@pytest.mark.parametrize("group", sorted(k[:-4] for k in ENTROPY if k.endswith("|act")))
def test_entropies_in_the_codes_arithmetic_are_the_stored_ones_too(group: str) -> None:
    entropy = activity_entropy(ENTROPY[f"{group}|act"].mean(0), float32_gray_levels)
    expected = ENTROPY[f"{group}|entropy"].double()
    torch.testing.assert_close(entropy, expected, rtol=0, atol=ATOL_STORED)


def test_the_codes_arithmetic_drops_a_largest_pixel_that_rounds_above_255() -> None:
    """Found by trying: (3.3 - 0) * 255 / (3.3 - 0) is 255.00002 in float32 for some such number."""
    tops = torch.arange(1, 400, dtype=torch.float32) / 10
    rounded_up = tops[tops * 255 / tops > 255]
    assert len(rounded_up)
    top = float(rounded_up[0])
    maps = torch.tensor([[[0.0, 0.0], [top, top]], [[0.0, 0.0], [0.0, top]]])
    # Intended: heights 1, 1 and 1, 1/3. Released: the top is in no bin, so every height is 1.
    assert activity_entropy(maps).tolist() == [0.0, 1.0]
    assert activity_entropy(maps, float32_gray_levels).tolist() == [0.0, 0.0]


def test_entropy_of_a_hand_counted_layer() -> None:
    """Levels 0,0,255,255 have heights 1,1: entropy 0. Levels 0,0,0,255: heights 1, 1/3."""
    maps = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 1.0]]])

    assert activity_entropy(maps).tolist() == [0.0, 1.0]
    assert activity_entropy(torch.ones(2, 3, 3)).tolist() == [0.0, 0.0]


@cache
def stored_interaction() -> Interaction:
    maps = {
        key[:-4].replace("downsample", "downsample.0"): value.mean(0)
        for key, value in ENTROPY.items()
        if key.endswith("|act")
    }
    model = stored_tinynet()
    return build_interaction(describe(model), dict(model.named_parameters()), maps, "reshaped")


def test_the_interaction_is_the_stored_one() -> None:
    dense = stored_interaction().dense()

    expected = ISING["interaction"].double()
    torch.testing.assert_close(dense, expected, rtol=0, atol=ATOL_STORED)


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize(
    ("scrambled", "key"), [(True, "cost_official"), (False, "cost_intended_f64")]
)
def test_energies_are_the_stored_ones(blocks: bool, scrambled: bool, key: str) -> None:
    interaction = stored_interaction() if blocks else ISING["interaction"]

    energy = ising_energy(ISING["states"], interaction, ISING["kept"], scrambled=scrambled)

    torch.testing.assert_close(energy, ISING[key], rtol=RTOL_ENERGY, atol=0)


def test_a_state_below_the_floor_pays_the_stored_penalty() -> None:
    states = ISING["states_low"]
    kept = kept_ratio(describe(TinyNet()), states)

    torch.testing.assert_close(kept, ISING["kept_low"], rtol=RTOL_FLOAT64, atol=0)
    floor = float(ISING["keep_rate_user"])
    energy = ising_energy(states, ISING["interaction"], kept, keep_rate=floor, scrambled=True)
    torch.testing.assert_close(energy, ISING["cost_low_official"], rtol=RTOL_ENERGY, atol=0)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 8), st.integers(0, 2**31), st.booleans())
def test_blocks_and_dense_matrix_and_double_sum_agree(
    count: int, seed: int, scrambled: bool
) -> None:
    interaction = stored_interaction()
    generator = torch.Generator().manual_seed(seed)
    states = torch.randint(0, 2, (count, 97), generator=generator, dtype=torch.uint8)

    energy = ising_energy(states, interaction, scrambled=scrambled)

    coupling = interaction.dense() - 1
    seen = torch.stack([states.flatten()[n::count] for n in range(count)]) if scrambled else states
    for n in range(count):
        bits = seen[n].double()
        expected = -(torch.outer(bits, bits) * coupling).sum()
        expected += states[n].sum() * coupling.sum() / 97
        torch.testing.assert_close(energy[n], expected, rtol=RTOL_FLOAT64, atol=1e-9)


def test_states_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="96 bits but the interaction 97"):
        ising_energy(torch.zeros(4, 96, dtype=torch.uint8), ISING["interaction"])


def test_margins_and_costs_are_the_stored_ones() -> None:
    stored, net = arrays("edropout_tinynet"), arrays("tinynet_ipruning")
    model = stored_tinynet()
    layout = describe(model, "ed06")

    logits = candidate_logits(model, stored["states"], MaskedParameters(model, layout), net["x"])

    torch.testing.assert_close(logits, stored["logits"], rtol=0, atol=ATOL_STORED)
    margin = classification_margin(logits, net["y"]).double()
    torch.testing.assert_close(margin, stored["margin"], rtol=0, atol=ATOL_STORED)
    cost = margin_energy(stored["logits"], net["y"]).double()
    torch.testing.assert_close(cost, stored["cost"], rtol=0, atol=ATOL_STORED)


def test_margin_of_hand_counted_logits() -> None:
    logits: Tensor = torch.tensor([[[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]]])

    assert margin_energy(logits, torch.tensor([0, 0])).tolist() == [20.0]  # (1 - 5) / 2 * -10
    assert math.isfinite(margin_energy(logits - 1e5, torch.tensor([0, 0])).item())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 300), max_size=40))
def test_gray_levels_fall_into_the_bins_that_bucketize_finds(levels: list[float]) -> None:
    edges = torch.linspace(0, 255, 257, dtype=torch.float64)
    up, down = (torch.tensor(end, dtype=torch.float64) for end in (math.inf, -math.inf))
    beside = torch.cat([edges, edges.nextafter(up), edges.nextafter(down).clamp(min=0)])
    given_levels = torch.cat([torch.tensor(levels, dtype=torch.float64), beside])
    expected = (torch.bucketize(given_levels, edges, right=True) - 1).clamp(0, 255)
    assert torch.equal(gray_bins(given_levels), expected)


def test_batch_means_are_the_same_in_both_orders_of_memory() -> None:
    torch.manual_seed(0)
    model = TinyNet().eval()
    images = torch.randn(4, 12, 8, 8)
    names = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Conv2d)]
    last = images.contiguous(memory_format=torch.channels_last)
    found = mean_activations(model, names, last)
    expected: dict[str, Tensor] = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: expected.__setitem__(name, output.mean(0))
        )
    with torch.no_grad():
        model(images)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)
