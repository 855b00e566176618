"""Bit layouts, masks, packing and kept ratios."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import alexnet, densenet121, mobilenet_v2, squeezenet1_1

from harness import models
from methods.ipruning.filter_layout import (
    FilterLayout,
    Rule,
    apply_state_,
    counted_by_edropout,
    describe,
    kept_ratio,
    pack_bits,
    unpack_bits,
)
from tests.methods.ipruning_cases import FIXTURES, TinyNet, arrays, names, stored_tinynet

RTOL_RATIO = 1e-9  # stored ratios: float64, order of summation
RULES: dict[str, Rule] = {
    "ipruning": "ip",
    "edropout_2020_06_23": "ed06",
    "edropout_head": "edh",
}
DENSE = json.loads((FIXTURES / "dense_counts.json").read_text())
KEPT = json.loads((FIXTURES / "kept_counts.json").read_text())


def on_meta(arch: str, classes: int, channels: int) -> nn.Module:
    with torch.device("meta"):
        if arch == "alexnet":
            return alexnet(num_classes=classes)
        if arch == "squeezenet1_1":
            return squeezenet1_1(num_classes=classes)
        return models.build(f"{arch}_cifar", num_classes=classes, in_channels=channels)


@pytest.mark.parametrize("row", DENSE, ids=lambda row: f"{row['arch']}-{row['dataset']}")
def test_state_lengths_are_the_stored_ones(row: dict[str, Any]) -> None:
    model = on_meta(row["arch"], row["n_classes"], row["in_channels"])

    if "D_readme_rule" in row:
        assert describe(model).size == row["D_readme_rule"]
        return
    sizes = [describe(model, rule).size for rule in ("ip", "ed06", "edh")]
    assert sizes == [row["D_ipruning"], row["D_edropout"], row["D_edropout_head"]]
    layout = describe(model)
    assert layout.total_parameters == row["params"]
    nonzero = sum(g.width**2 for g in layout.of_kind("filters"))
    nonzero += sum(group.width * after.width for group, after in layout.pairs)
    assert nonzero == row["nonzero_interactions"]


@pytest.mark.parametrize("row", KEPT, ids=lambda row: row["key"])
def test_kept_counts_are_the_stored_ones(row: dict[str, Any]) -> None:
    layout = describe(
        on_meta(row["arch"], row["n_classes"], row["in_channels"]), RULES[row["counter"]]
    )
    state = unpack_bits(arrays("kept_states")[row["key"]], row["D"])

    assert layout.size == row["D"]
    assert int(state.sum()) == row["states_on"]
    if layout.rule == "ip":
        ratio = float(kept_ratio(layout, state))
        assert ratio == pytest.approx(row["kept_ratio"], rel=RTOL_RATIO)
        kept = ratio * layout.total_parameters
        assert kept == pytest.approx(row["kept_params"], rel=RTOL_RATIO)
        return
    counted = counted_by_edropout(layout, state)
    assert counted["ratio"] == pytest.approx(row["kept_ratio"], rel=RTOL_RATIO)
    assert counted["total"] == row["total_reported"]
    for field in ("kept_conv", "total_conv", "kept_fc", "total_fc"):
        assert counted[field] == row[field]


def test_the_layout_of_the_small_network_is_the_stored_one() -> None:
    stored = json.loads((FIXTURES / "tinynet_layout_ipruning.json").read_text())
    layout = describe(TinyNet())

    assert (layout.size, layout.always_on) == (stored["D"], stored["n_classes"])
    for group, (name, expected) in zip(layout.groups, stored["groups"].items(), strict=True):
        assert group.name.removesuffix(".0") == name or group.name == name
        assert (group.start, group.stop) == (expected["state_start"], expected["state_stop"])
        assert [[p.name, list(p.shape)] for p in group.parameters] == expected["params"]
    for (_, after), expected in zip(layout.pairs, stored["groups"].values(), strict=False):
        assert (after.start, after.stop) == (expected["next_start"], expected["next_stop"])


@pytest.mark.parametrize(
    ("rule", "file"), [("ip", "tinynet_ipruning"), ("ed06", "edropout_tinynet")]
)
def test_masked_weights_are_the_stored_ones(rule: Rule, file: str) -> None:
    model, stored = stored_tinynet(), arrays(file)
    state = stored["state"] if rule == "ip" else stored["states"][0]

    apply_state_(model, describe(model, rule), state)

    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.detach(), stored[f"wm|{name}"])


def test_masked_outputs_are_the_stored_ones() -> None:
    model, stored = stored_tinynet(), arrays("tinynet_ipruning")
    atol = 1e-5  # float32 logits, order of summation
    images = stored["x"]
    model.eval()
    initial = {k: v.clone() for k, v in model.state_dict().items()}
    model.train()

    torch.testing.assert_close(model(images), stored["out_dense_trainbn"], rtol=0, atol=atol)
    apply_state_(model, describe(model), stored["state"])
    torch.testing.assert_close(model(images), stored["out_masked_trainbn"], rtol=0, atol=atol)
    statistics = {k: v for k, v in initial.items() if "running" in k or "num_batches" in k}
    model.load_state_dict(model.state_dict() | statistics)
    masked = model.eval()(images)
    torch.testing.assert_close(masked, stored["out_masked_evalbn_initstats"], rtol=0, atol=atol)


def test_edropout_counter_and_bit_order_of_the_small_network() -> None:
    stored = arrays("edropout_tinynet")
    layout = describe(TinyNet(), "ed06")

    order = [f"{g.parameters[0].name}:{g.parameters[0].shape}" for g in layout.groups]
    assert order == names("edropout_tinynet", "groups")
    for state, expected in zip(stored["states"], stored["kept_counter"], strict=True):
        counted = list(counted_by_edropout(layout, state).values())
        assert counted == pytest.approx(expected.tolist(), rel=RTOL_RATIO)


def test_the_edropout_counter_refuses_the_ip_layout() -> None:
    with pytest.raises(ValueError, match="no EDropout counter"):
        counted_by_edropout(describe(TinyNet()), torch.ones(97))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**31))
def test_packed_bits_are_those_of_numpy_and_come_back(size: int, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randint(0, 2, (count, size), generator=generator, dtype=torch.uint8)

    packed = pack_bits(states)

    assert packed.tolist() == np.packbits(states.numpy(), axis=1).tolist()
    assert torch.equal(unpack_bits(packed, size), states)


def test_bits_of_another_layout_are_refused() -> None:
    with pytest.raises(ValueError, match="2 bytes of packed bits cannot hold 97 bits"):
        unpack_bits(torch.zeros(2, dtype=torch.uint8), 97)


@pytest.mark.parametrize("rule", ["ip", "ed06"])
def test_a_layout_comes_back_from_json(rule: Rule) -> None:
    layout = describe(TinyNet(bottleneck=True), rule)

    assert FilterLayout.from_json(layout.to_json()) == layout
    with pytest.raises(ValueError, match="another release"):
        FilterLayout.from_json(layout.to_json().replace('"version": 1', '"version": 2'))


def test_the_all_on_state_keeps_everything_and_class_bits_count_nothing() -> None:
    layout = describe(TinyNet())
    state = torch.ones(layout.size)
    assert float(kept_ratio(layout, state)) == pytest.approx(1.0, rel=RTOL_RATIO)

    state[-layout.always_on :] = 0
    assert float(kept_ratio(layout, state)) == pytest.approx(1.0, rel=RTOL_RATIO)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (mobilenet_v2, "grouped convolution"),
        (densenet121, "has weights of its own"),
        (lambda: nn.Sequential(nn.Linear(3, 4)), "no Conv2d"),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3)), "last layer 0"),
        (
            lambda: nn.Sequential(
                nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(4, 2)
            ),
            "without scale and bias",
        ),
    ],
)
def test_networks_without_a_description_are_refused(model: Any, reason: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=reason):
        describe(model())
