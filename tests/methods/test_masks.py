"""Exact selection: counts, ties, N:M groups, packed bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods import masks

FIXTURES = Path(__file__).parents[1] / "fixtures" / "acdc"
PROFILE = settings(deadline=None, max_examples=50, derandomize=True)
# few distinct values, so that nearly every example has ties at the threshold
tied_scores = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=60)


@PROFILE
@given(tied_scores, st.data())
def test_keep_largest_agrees_with_a_sort_by_score_then_position(values, data):
    k = data.draw(st.integers(0, len(values)))
    ranking = sorted(range(len(values)), key=lambda i: (-values[i], i))
    expected = [i in ranking[:k] for i in range(len(values))]
    assert masks.keep_largest(torch.tensor(values), k).tolist() == expected


@PROFILE
@given(tied_scores, st.data())
def test_the_kth_largest_is_that_of_a_sort_by_either_way(values, data):
    k = data.draw(st.integers(1, len(values)))
    expected = sorted(values, reverse=True)[k - 1]
    assert masks.kth_largest(torch.tensor(values), k) == expected
    assert masks.kth_by_topk(torch.tensor(values), k) == expected


@pytest.mark.parametrize("k", [1, 3, 4, 5, 6, 8])
def test_the_selection_for_cuda_never_asks_for_more_than_half(k, monkeypatch):
    asked = []
    topk = torch.Tensor.topk
    monkeypatch.setattr(
        torch.Tensor, "topk", lambda self, n, **how: asked.append(n) or topk(self, n, **how)
    )
    assert masks.kth_by_topk(torch.arange(8), k) == 8 - k
    assert asked == [min(k, 9 - k)]


@PROFILE
@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_permuting_equal_scores_changes_nothing(k, random):
    values = [1.0] * 40
    random.shuffle(values)
    kept = masks.keep_largest(torch.tensor(values), k)
    assert kept.tolist() == [True] * k + [False] * (40 - k)


def test_keep_largest_reads_channels_last_weights_in_logical_order():
    scores = torch.ones(4, 3, 2, 2)
    expected = masks.keep_largest(scores, 17)
    strided = masks.keep_largest(scores.to(memory_format=torch.channels_last), 17)
    assert torch.equal(strided, expected)
    assert strided.sum() == 17


@pytest.mark.parametrize("k", [-1, 7])
def test_keep_largest_refuses_a_count_it_cannot_keep(k):
    with pytest.raises(ValueError, match=f"cannot keep {k} of 6"):
        masks.keep_largest(torch.ones(6), k)


@PROFILE
@given(tied_scores, tied_scores, st.data())
def test_global_topk_breaks_ties_by_registration_then_position(first, second, data):
    k = data.draw(st.integers(0, len(first) + len(second)))
    both = first + second
    ranking = sorted(range(len(both)), key=lambda i: (-both[i], i))[:k]
    kept = masks.global_topk({"z": torch.tensor(first), "a": torch.tensor(second)}, k)
    flat = kept["z"].tolist() + kept["a"].tolist()
    assert flat == [i in ranking for i in range(len(both))]


@pytest.mark.parametrize(
    ("total", "sparsity", "kept"), [(10, 0.7, 3), (5, 0.5, 3), (7, 0.5, 3), (3, 0.0, 3), (3, 1, 0)]
)
def test_kept_count_rounds_the_pruned_share_half_to_even(total, sparsity, kept):
    assert masks.kept_count(total, sparsity) == kept


@pytest.mark.parametrize("k", [0, 1, 5, 6])
def test_keep_largest_keeps_anything_from_none_to_all(k):
    kept = masks.keep_largest(torch.arange(6.0).view(2, 3), k)
    assert kept.dtype == torch.bool and kept.shape == (2, 3)
    assert kept.flatten().tolist() == [place >= 6 - k for place in range(6)]


@pytest.mark.parametrize(
    ("k", "expected"), [(1, "0001"), (2, "1001"), (3, "1101"), (4, "1111"), (0, "0000")]
)
def test_equal_scores_stay_from_the_front(k, expected):
    kept = masks.keep_largest(torch.tensor([1.0, 1.0, 1.0, 2.0]), k)
    assert "".join(str(int(keep)) for keep in kept) == expected


def test_no_scores_have_no_masks():
    assert masks.global_topk({}, 0) == {}


@pytest.mark.parametrize("sparsity", [-0.01, 1.01, float("nan")])
def test_kept_count_refuses_what_is_no_fraction(sparsity):
    with pytest.raises(ValueError, match="is not a fraction"):
        masks.kept_count(10, sparsity)


def test_kept_count_names_a_sparsity_that_is_no_fraction():
    with pytest.raises(ValueError, match=r"sparsity 1\.2 is not a fraction"):
        masks.kept_count(10, 1.2)


NM = np.load(FIXTURES / "nm_masks.npz")
NM_CASES = json.loads((FIXTURES / "nm_masks_index.json").read_text())


def _nm_id(case):
    return f"{case['layer']}-{case['N']}:{case['M']}"


@pytest.mark.parametrize(
    "case", [c for c in NM_CASES if "error" not in c and "ties" not in c], ids=_nm_id
)
def test_n_of_m_equals_the_reference_masks(case):
    weight = torch.from_numpy(NM[f"in/{case['layer']}"])
    kept = masks.n_of_m(weight, case["N"], case["M"])
    expected = torch.from_numpy(NM[f"mask/{case['N']}_{case['M']}/{case['layer']}"]).bool()
    assert torch.equal(kept, expected)
    strided = masks.n_of_m(_channels_last(weight), case["N"], case["M"])
    assert torch.equal(strided, expected)


def _channels_last(weight):
    return weight.to(memory_format=torch.channels_last) if weight.dim() == 4 else weight


@pytest.mark.parametrize("case", [c for c in NM_CASES if "error" in c], ids=_nm_id)
def test_n_of_m_refuses_a_pattern_that_does_not_divide(case):
    with pytest.raises(ValueError, match="does not divide"):
        masks.n_of_m(torch.from_numpy(NM[f"in/{case['layer']}"]), case["N"], case["M"])


@pytest.mark.parametrize("layer", ["conv_ties", "fc_ties"])
def test_n_of_m_with_ties_keeps_the_largest_and_the_earlier(layer):
    weight = torch.from_numpy(NM[f"in/{layer}"])
    kept = _grouped(masks.n_of_m(weight, 2, 4), 4)
    valid = _grouped(torch.from_numpy(NM[f"mask_ties_one_valid_choice/2_4/{layer}"]).bool(), 4)
    scores = _grouped(weight.abs(), 4)
    for keep, choice, score in zip(kept, valid, scores, strict=True):
        ranking = sorted(range(4), key=lambda i: (-score[i].item(), i))
        assert sorted(ranking[:2]) == keep.nonzero().flatten().tolist()
        assert sorted(score[keep].tolist()) == sorted(score[choice].tolist())


def _grouped(tensor, m):
    order = tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor
    return order.reshape(-1, m)


@pytest.mark.parametrize(("n", "m"), [(-1, 4), (5, 4), (0, 0), (1, 0)])
def test_n_of_m_refuses_what_is_no_pattern(n, m):
    with pytest.raises(ValueError, match=f"{n}:{m} is no N:M pattern"):
        masks.n_of_m(torch.ones(2, 4), n, m)


@pytest.mark.parametrize(("n", "m", "kept"), [(0, 4, 0), (4, 4, 8), (0, 1, 0), (1, 1, 8)])
def test_n_of_m_keeps_from_nothing_to_everything(n, m, kept):
    assert masks.n_of_m(torch.ones(2, 4), n, m).sum() == kept


@pytest.mark.parametrize("shape", [(), (8,)])
def test_n_of_m_refuses_a_rank_it_has_no_order_for(shape):
    with pytest.raises(ValueError, match="conv or linear"):
        masks.n_of_m(torch.ones(shape), 2, 4)


@PROFILE
@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_packed_masks_come_back_and_take_a_bit_each(bits):
    mask = torch.tensor(bits)
    packed = masks.pack(mask)
    assert packed.dtype == torch.uint8
    assert packed.numel() == -(-len(bits) // 8)
    assert torch.equal(masks.unpack(packed, mask.shape), mask)


def test_packed_masks_are_numpys_with_the_lowest_bit_first():
    mask = torch.rand(5, 7, generator=torch.Generator().manual_seed(0)) < 0.4
    bits = np.packbits(mask.numpy().reshape(-1), bitorder="little")
    assert masks.pack(mask).tolist() == bits.tolist()
    assert torch.equal(masks.unpack(torch.from_numpy(bits), (5, 7)), mask)


def test_unpack_refuses_bits_of_another_shape():
    with pytest.raises(ValueError, match="does not fit shape"):
        masks.unpack(masks.pack(torch.ones(9, dtype=torch.bool)), (4, 2))


def test_multipliers_have_the_strides_of_their_weights():
    weight = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    mask = masks.keep_largest(weight.abs(), 11)
    (factor,) = masks.multipliers([weight], [mask])
    assert factor.stride() == weight.stride() and factor.dtype == weight.dtype
    assert not masks.multipliers([weight.requires_grad_()], [mask])[0].requires_grad
    assert torch.equal(factor.bool(), mask)
