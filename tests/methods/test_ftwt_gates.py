"""Ground truth, heads, gated layers and their gradients against the official functions' arrays."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from methods.ftwt import ground_truth_mask
from methods.ftwt.accounting import GateCost, MacCosts
from methods.ftwt.gates import (
    Gate,
    GateOptions,
    Gates,
    attach_gates,
    detach_gates,
    filter_strengths,
    gates_of,
    uniform_mask,
)
from methods.ftwt.layers import GatedLayer
from tests.methods.ftwt_fixtures import assert_near, case, case_names, load, mask_accuracy_pct

RTOL_GRADIENT = 2e-5  # stated with the stored gradients


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", case_names("gt_mass"))
def test_mass_ground_truth_equals_the_official_mask(name: str) -> None:
    stored = case("gt_mass", name)
    assert torch.equal(filter_strengths(stored["x"]), stored["criterion"])
    for i, mass in enumerate(stored["thr"].tolist()):
        mask = ground_truth_mask(stored["x"], mass)
        assert mask.dtype == torch.bool
        assert torch.equal(mask.to(torch.uint8), stored["mask"][i]), mass
        assert torch.equal(mask.sum(1), stored["k"][i]), mass


@pytest.mark.parametrize("name", case_names("gt_uniform"))
def test_uniform_ground_truth_equals_the_official_mask(name: str) -> None:
    stored = case("gt_uniform", name)
    strengths = filter_strengths(stored["x"])
    for i, ratio in enumerate(stored["ratio"].tolist()):
        assert torch.equal(uniform_mask(strengths, ratio).to(torch.uint8), stored["mask"][i])


def test_crossing_filter_is_dropped_in_the_posters_example() -> None:
    maxima = torch.tensor([[5.5, 7.9, 0.3, 8.6, 2.2, 3.1, 0.9]])
    kept = ground_truth_mask(maxima, 0.95)
    assert kept.tolist() == [[True, True, False, True, False, True, False]]


def test_dominant_filter_leaves_no_filter_at_all() -> None:
    assert not ground_truth_mask(torch.tensor([[9.0, 0.5, 0.5]]), 0.8).any()


@pytest.mark.parametrize("mass", [-1.0, 0.0, 0.5, 1.0])
def test_zero_map_keeps_every_filter(mass: float) -> None:
    assert ground_truth_mask(torch.zeros(2, 5, 3, 3), mass).all()


def test_full_mass_drops_only_negligible_shares() -> None:
    strengths = torch.tensor([[1.0, 0.9e-5, 1.2e-5, 0.0]])
    assert ground_truth_mask(strengths, 1.0).tolist() == [[True, False, True, False]]


def test_uniform_without_a_filter_to_prune_drops_only_dead_ones() -> None:
    strengths = torch.tensor([[0.5, 0.0, 1e-5, 2e-5]])
    assert uniform_mask(strengths, 0.2).tolist() == [[True, False, False, True]]


def test_equal_filters_are_dropped_from_the_end() -> None:
    assert ground_truth_mask(torch.ones(1, 4), 0.5).tolist() == [[True, True, False, False]]


def test_half_precision_features_are_measured_in_single_precision() -> None:
    features = torch.rand(3, 40, 4, 4, generator=generator()).half()
    assert torch.equal(ground_truth_mask(features, 0.7), ground_truth_mask(features.float(), 0.7))


def test_single_sample_without_batch_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"features\[None\]"):
        ground_truth_mask(torch.ones(4), 0.5)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(seed=st.integers(0, 10_000), mass=st.floats(0.05, 0.95), scale=st.floats(0.01, 100))
def test_ground_truth_ignores_scale_and_keeps_the_strongest(
    seed: int, mass: float, scale: float
) -> None:
    features = torch.randn(2, 9, 3, 3, generator=generator(seed), dtype=torch.float64)
    mask = ground_truth_mask(features, mass)
    strengths = filter_strengths(features)
    for kept, strength in zip(mask, strengths, strict=True):
        weakest_kept = strength[kept].min() if kept.any() else torch.tensor(torch.inf)
        assert kept.all() or strength[~kept].max() <= weakest_kept
        assert strength[kept].sum() <= (mass + 1e-5) * strength.sum() * (1 + 1e-9)
    assert torch.equal(mask, ground_truth_mask(features * scale, mass))


def head(stored: dict[str, Tensor], **options: object) -> Gate:
    """A gate with stored head weights."""
    conv = nn.Conv2d(stored["x"].shape[1], len(stored["bias"]), 1)
    gate = Gate(GatedLayer("conv"), conv, GateOptions(**options))
    gate.load_state_dict({"weight": stored["weight"], "bias": stored["bias"]})
    return gate


@pytest.mark.parametrize("name", case_names("heads"))
def test_head_equals_the_official_logits(name: str) -> None:
    stored = case("heads", name)
    gate = head(stored, softmax=bool(stored["softmax"]), embedding=int(stored["embedding"]))
    with torch.no_grad():
        logits = gate(stored["x"])
    assert gate.side == int(stored["dim"])
    assert_near(logits, stored["logits"])
    assert torch.equal((logits > 0).to(torch.uint8), stored["mask"])


def test_max_pooled_head_sees_the_largest_pixel() -> None:
    stored = case("heads", "gap_nosoftmax")
    gate = head(stored, softmax=False, head_pool="max")
    expected = stored["x"].amax((2, 3)) @ stored["weight"].t() + stored["bias"]
    with torch.no_grad():
        assert_near(gate(stored["x"]), expected)


def test_logit_of_zero_is_off() -> None:
    gate = Gate(GatedLayer("conv"), nn.Conv2d(2, 3, 1), GateOptions())
    nn.init.zeros_(gate.weight)
    nn.init.zeros_(gate.bias)
    gate.look(nn.Identity(), (torch.ones(1, 2, 4, 4),))
    assert gate.keep is not None and not gate.keep.any()


def test_embedding_shorter_than_a_pixel_per_channel_is_refused() -> None:
    with pytest.raises(ValueError, match="embedding=4 leaves no pixel for 64"):
        GateOptions(embedding=4).side(64)


class OneLayer(nn.Module):
    """act(bn(conv(x)) + residual)."""

    def __init__(self, stored: dict[str, Tensor]) -> None:
        super().__init__()
        weight = stored["conv_weight"]
        kernel, stride, padding, groups, _ = stored["cfg"].tolist()
        filters, channels = len(weight), stored["x"].shape[1]
        bias = "conv_bias" in stored
        self.conv = nn.Conv2d(channels, filters, kernel, stride, padding, 1, groups, bias)
        self.bn = nn.BatchNorm2d(filters)
        keys = ("weight", "bias", "running_mean", "running_var")
        state = {f"bn.{key}": row for key, row in zip(keys, stored["bn"], strict=True)}
        state |= {"conv.weight": weight, "bn.num_batches_tracked": torch.tensor(0)}
        self.load_state_dict(state | ({"conv.bias": stored["conv_bias"]} if bias else {}))
        self.residual = stored.get("residual")
        self.relu = stored["act"] == "relu"

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(x))
        out = out if self.residual is None else out + self.residual
        return out.relu() if self.relu else out


def gated_case(stored: dict[str, Tensor]) -> tuple[nn.Module, Gates]:
    block = nn.Sequential(OneLayer(stored)).eval()
    after = "residual" in stored
    layer = GatedLayer(
        "0.conv",
        "0.bn",
        act="identity" if after else str(stored["act"]),
        block="0" if after else None,
    )
    options = GateOptions(
        mass=float(stored["thr"]),
        ground_truth=stored["gt_type"],
        mode=stored["mode"],
        softmax=bool(stored["cfg"][4]),
    )
    gates = attach_gates(block, [layer], options, generator())
    gates.load_state_dict({"0.weight": stored["head_weight"], "0.bias": stored["head_bias"]})
    gates.set_truth(True)
    return block, gates


@pytest.mark.parametrize("name", case_names("gated_conv"))
def test_gated_layer_equals_the_official_one_with_gradients(name: str) -> None:
    stored = case("gated_conv", name)
    model, gates = gated_case(stored)
    gate = next(iter(gates))
    x = stored["x"].clone().requires_grad_()
    out = model(x)
    loss = gates.loss()
    assert_near(out, stored["out"])
    assert_near(gate.logits, stored["logits"])
    assert torch.equal(gate.truth.to(torch.uint8), stored["gt"])
    assert torch.equal(gates.active()[:, 0].float(), stored["active"])
    assert_near(loss, stored["mask_loss"])
    assert float(mask_accuracy_pct(gates)) == pytest.approx(float(stored["mask_acc_pct"]), rel=1e-6)
    ((out * stored["cotangent"]).sum() + loss).backward()
    for got, key in (
        (x.grad, "grad_x"),
        (gate.weight.grad, "grad_head_weight"),
        (gate.bias.grad, "grad_head_bias"),
        (model[0].conv.weight.grad, "grad_conv_weight"),
    ):
        assert_near(got, stored[key], RTOL_GRADIENT)


@pytest.mark.parametrize("name", case_names("gated_conv"))
def test_reported_macs_of_a_layer_equal_the_official_count(name: str) -> None:
    stored = case("gated_conv", name)
    kernel, _, _, groups, _ = stored["cfg"].tolist()
    filters, channels = len(stored["conv_weight"]), stored["x"].shape[1]
    pixels = stored["out"].shape[2] * stored["out"].shape[3]
    before = GateCost("before", 0, 3, channels, 1, None, False, 0)
    layer = GateCost("conv", pixels * kernel**2, channels, filters, groups, 0, True, 0)
    active = torch.stack([stored["prev"], stored["active"]], dim=1).long()
    reported = MacCosts((before, layer), 0, 0).reported(active)
    assert torch.equal(reported[:, 1].float(), stored["flops"])


@pytest.mark.parametrize("name", case_names("mask_loss"))
def test_mask_loss_equals_the_official_value(name: str) -> None:
    stored = case("mask_loss", name)
    gates = []
    for i in range(sum(key.startswith("logits") for key in stored)):
        logits = stored[f"logits{i}"]
        gate = Gate(GatedLayer(f"conv{i}"), nn.Conv2d(1, logits.shape[1], 1), GateOptions())
        gate.logits, gate.keep = logits, logits > 0
        gate.truth = stored[f"gt{i}"].bool()
        gates.append(gate)
    all_gates = Gates(gates)
    assert_near(float(stored["lweight"]) * all_gates.loss(), stored["loss"])
    assert float(mask_accuracy_pct(all_gates)) == pytest.approx(float(stored["acc_pct"]), rel=1e-6)


def test_no_gradient_flows_through_the_average_pool_shortcut() -> None:
    from harness.models.cifar_resnet import BasicBlock

    stored = load("resnet_shortcut")
    block = BasicBlock(4, 8, "avgpool").eval()
    state = {"conv1.weight": stored["conv1"], "conv2.weight": stored["conv2"]}
    for bn in ("bn1", "bn2"):
        keys = ("weight", "bias", "running_mean", "running_var")
        state |= {f"{bn}.{key}": row for key, row in zip(keys, stored[bn], strict=True)}
        state[f"{bn}.num_batches_tracked"] = torch.tensor(0)
    block.load_state_dict(state)
    x = stored["x"].clone().requires_grad_()
    out = block(x)
    assert_near(block.downsample(x), stored["shortcut"])
    assert_near(out, stored["out"])
    (out * stored["cotangent"]).sum().backward()
    assert_near(x.grad, stored["grad_x"], RTOL_GRADIENT)


def one_gate(mode: str = "decoupled") -> tuple[nn.Module, Gates]:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
    return model, attach_gates(model, [GatedLayer("0", "1")], GateOptions(mode=mode), generator())


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("mode", ["joint", "decoupled"])
def test_gated_model_evaluates_without_gradients(mode: str, guard: type) -> None:
    model, gates = one_gate(mode)
    model.eval()
    with guard():
        out = model(torch.rand(2, 3, 8, 8, generator=generator()))
    off = ~next(iter(gates)).keep
    assert off.any() and not off.all()
    assert (out[off] == 0).all()


def test_copy_of_a_gated_model_has_gates_of_its_own() -> None:
    model, gates = one_gate("joint")
    images = torch.rand(2, 3, 8, 8, generator=generator())
    model(images)
    twin = copy.deepcopy(model)
    nn.init.constant_(next(iter(gates_of(twin))).bias, 100.0)
    twin(images)
    assert gates_of(twin).active().tolist() == [[6], [6]]
    assert gates.active().sum() < 12
    detach_gates(twin)
    assert not twin[0]._forward_pre_hooks and not twin[1]._forward_hooks
    assert model[0]._forward_pre_hooks


def test_detached_model_is_dense_again() -> None:
    model, _ = one_gate()
    model.eval()
    images = torch.rand(2, 3, 8, 8, generator=generator())
    gates_of(model).set_enabled(False)
    dense = model(images)
    detach_gates(model)
    assert torch.equal(model(images), dense)
    assert not any("ftwt" in key for key in model.state_dict())
    with pytest.raises(ValueError, match="has no gates"):
        gates_of(model)


def test_loss_before_a_forward_pass_says_what_is_missing() -> None:
    model, gates = one_gate()
    with pytest.raises(RuntimeError, match="run the gated model first"):
        gates.loss()
    with pytest.raises(ValueError, match="detach_gates first"):
        attach_gates(model, [GatedLayer("0", "1")], GateOptions(), generator())


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (GatedLayer("9"), "no module '9'"),
        (GatedLayer("0", "7"), "no module '7'"),
        (GatedLayer("1"), "is a BatchNorm2d; gates need a Conv2d"),
    ],
)
def test_wrong_description_is_refused(layer: GatedLayer, reason: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6))
    with pytest.raises(ValueError, match=reason):
        attach_gates(model, [layer], GateOptions(), generator())
