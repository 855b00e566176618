"""Parameters, zeros and MACs: hand counts, forward hooks and torch's own counter agree."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import StateWarning
from harness.profile import macs
from harness.profile.conventions import FIGURES, acdc_flops
from harness.profile.cost import measure_cost
from harness.profile.macs import DenseMacs, dense_macs, layer_costs, total_macs
from harness.profile.traced_products import Products
from harness.profile.zeros import sparsity
from harness.registry import FLOPS_CONVENTIONS
from harness.results import Figures


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=True),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4, bias=False),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 2 * 2, 5),
    )


def test_macs_equal_hand_count() -> None:
    found = dense_macs(small_net(), (3, 8, 8))
    # conv: 8*3*9 weights at 64 positions; grouped: 8*2*9 at 16; linear 32*5.
    assert found.per_layer == {"0": 216 * 64, "3": 144 * 16, "6": 160}


def test_twice_the_macs_is_torchs_flop_count() -> None:
    model = small_net().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 8, 8))
    assert counter.get_total_flops() == 2 * dense_macs(model, (3, 8, 8)).total


def test_profiling_leaves_the_model_as_it_was() -> None:
    model = small_net().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    dense_macs(model, (3, 8, 8))
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_cached_profile_equals_a_fresh_one(tmp_path) -> None:  # type: ignore[no-untyped-def]
    first = dense_macs(small_net(), (3, 8, 8))
    assert list((tmp_path / "cache" / "macs").glob("*.json"))
    assert dense_macs(small_net(), (3, 8, 8)) == first


def test_a_network_is_traced_once_for_each_version_of_what_counts(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    traced = []

    def trace(model: nn.Module, shape: tuple[int, int, int]) -> DenseMacs:
        traced.append(shape)
        return DenseMacs({"0": 2, "3": 3}, 7, {})

    monkeypatch.setattr(macs, "_trace", trace)
    for _ in range(2):
        found = dense_macs(small_net(), (3, 8, 8))
    assert (found.total, found.activations, found.fvcore_total) == (5, 0, 7)
    assert len(traced) == 1
    told = {"torch": "1", "fvcore": "1"}
    for more, counts in (({}, 2), ({"numpy": "9"}, 2), ({"fvcore": "2"}, 3)):
        monkeypatch.setattr(macs, "versions", lambda more=more: told | more)
        dense_macs(small_net(), (3, 8, 8))
        assert len(traced) == counts


def test_a_damaged_count_is_counted_anew_and_said_where_it_was_asked_for(tmp_path) -> None:  # type: ignore[no-untyped-def]
    first = dense_macs(small_net(), (3, 8, 8))
    [file] = (tmp_path / "cache" / "macs").glob("*.json")
    assert len(file.stem) == 32
    file.write_text("{}")
    with pytest.warns(StateWarning, match="counted anew") as said:
        assert dense_macs(small_net(), (3, 8, 8)) == first
    assert said[0].filename == macs.__file__


def test_counts_of_kernels_that_an_image_mixes_join_the_others() -> None:
    counts = {"weight:a": 4, "weight:b": 2, "mixed:b": 5, "mixed:c": 6, "conv": 17}
    found = macs._counted(counts, {}, Products({}, {}))
    assert found.per_layer == {"a": 4, "b": 7, "c": 6}
    assert (found.mixed, found.fvcore_total) == ({"b": 5, "c": 6}, 17)


def test_attention_hides_nothing_in_its_fast_path_and_the_tracer_is_silent(caplog) -> None:  # type: ignore[no-untyped-def]
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
            self.never = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(2).mT.sort(1).values
            return self.attend(x, x, x, need_weights=False)[0]

    found = dense_macs(Attends(), (4, 2, 3))
    assert sum(found.per_layer.values()) == 6 * (4 * 12 + 4 * 4)  # 6 tokens: q, k, v and out
    assert found.activations == 2 * 6 * 6 * 4
    assert torch.backends.mha.get_fastpath_enabled()
    assert caplog.records == []


def test_a_layer_that_was_not_counted_has_no_macs() -> None:
    rows = layer_costs(sparsity(small_net()), DenseMacs({"0": 10}, 10, {}))
    assert [row.macs_dense for row in rows] == [10, 0, 0]


def test_the_tracers_own_total_counts_batch_norm_too() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8))
    found = dense_macs(net, (3, 8, 8))
    assert found.per_layer == {"0": 216 * 36}
    assert found.fvcore_total > found.total  # by what batch norm does at every position
    assert found.fvcore_total < 2 * found.total


def test_another_stride_is_another_cache_entry() -> None:
    model = small_net()
    dense_macs(model, (3, 8, 8))
    model[3] = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2, bias=False)
    assert dense_macs(model, (3, 8, 8)).per_layer["3"] == 8 * 4 * 9 * 16


def test_only_exact_zeros_are_zeros() -> None:
    model = small_net()
    with torch.no_grad():
        model[0].weight.fill_(1e-30)
        model[0].weight.view(-1)[:16] = 0.0
        model[3].weight.view(-1)[:3] = -0.0
    found = sparsity(model)
    assert [layer.nnz for layer in found.layers][:2] == [200, 141]


def test_effective_macs_follow_density_exactly() -> None:
    model = small_net()
    with torch.no_grad():
        for index in (0, 3, 6):
            model[index].weight.fill_(1.0)
        model[0].weight.view(-1)[:54] = 0.0  # a quarter
        model[6].weight.view(-1)[:80] = 0.0  # a half
    layers = layer_costs(sparsity(model), dense_macs(model, (3, 8, 8)))
    assert [layer.macs_effective for layer in layers] == [162 * 64, 144 * 16, 80]
    assert total_macs(layers) == (216 * 64 + 144 * 16 + 160, 162 * 64 + 144 * 16 + 80)


def test_excluded_layers_leave_the_denominator() -> None:
    model = small_net()
    with torch.no_grad():
        model[3].weight.zero_()
        model[0].weight.fill_(1.0)
        model[6].weight.fill_(1.0)
    found = sparsity(model)
    assert found.counts(exclude=["0", "6"]) == (0, 144)
    assert found.sparsity() == 144 / (216 + 144 + 160)
    assert found.collapsed == ("3",)


def test_rd_convention_counts_one_bias_per_position() -> None:
    model = small_net()
    with torch.no_grad():
        for index in (0, 3, 6):
            model[index].weight.fill_(1.0)
        model[6].weight.zero_()
    bias = 64 + 1
    left = 216 * 64 + 144 * 16 + bias
    whole = 216 * 64 + 144 * 16 + 160 + bias
    found = measure_cost(model, (3, 8, 8), "rd-macs-ratio").extra
    assert found == {"flops_remaining_pct": pytest.approx(100 * left / whole, abs=1e-12)}


def test_acdc_convention_equals_hand_count() -> None:
    model = small_net()
    with torch.no_grad():
        for index in (0, 3, 6):
            model[index].weight.fill_(1.0)
    layers = layer_costs(sparsity(model), dense_macs(model, (3, 8, 8)))
    expected = 2 * (216 * 64 + 144 * 16 + 160)  # multiply and add
    expected += 8 * 64 + 5  # biases
    expected += 2 * 8 * 64 + 8 * 64  # batch norm, ReLU
    expected += 4 * 8 * 2 * 2  # 2x2 max pooling
    assert acdc_flops(model, layers, (3, 8, 8)) == expected


def test_every_convention_of_the_registry_has_its_figures() -> None:
    assert tuple(FIGURES) == FLOPS_CONVENTIONS


def test_figures_that_only_the_method_can_measure_are_left_to_it() -> None:
    cost = measure_cost(small_net(), (3, 8, 8), "ftwt-reported")
    assert cost.extra == {}


def test_a_methods_own_macs_are_a_figure_of_the_macs_convention_only() -> None:
    """AC/DC's count of this network equals its MACs: that makes it no count of MACs."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[1].weight.fill_(0.0)
    measured = Figures(values={"effective_macs": 3.0})
    by = {name: measure_cost(model, (1, 2, 2), name, measured=measured).extra for name in FIGURES}
    assert by["macs"]["flops_millions"] == 3e-6
    assert by["2x-macs-bn-relu-pool"]["flops_millions"] == 0.0


def test_cost_counts_the_weight_in_use() -> None:
    cost = measure_cost(small_net(), (3, 8, 8), "macs", exclude=("0",))
    assert cost.prunable_total == 144 + 160
    assert cost.extra == {"flops_millions": cost.macs_effective / 1e6}
    assert cost.params == 216 + 8 + 16 + 144 + 160 + 5


def test_weights_that_only_look_like_zeros_are_counted_apart() -> None:
    model = small_net()
    with torch.no_grad():
        model[0].weight.view(-1)[:10] = torch.tensor([1e-7, -9.9e-7, 0.0, -0.0, 1e-6] * 2)
    first = sparsity(model).layers[0]
    assert (first.nnz, first.near_zero) == (216 - 4, 4)  # 1e-6 itself is a weight


def test_filters_without_any_weight_are_counted_by_output_channel() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2),
        nn.ConvTranspose2d(6, 4, 3, groups=2),
        nn.Linear(5, 3),
        nn.LSTM(3, 2),
    )
    with torch.no_grad():
        model[0].weight[[1, 4]] = 0
        model[0].weight[2, 0] = 0  # its other input channel is left
        model[1].weight[3:, 1] = 0  # all inputs of the second group to its second output
        model[1].weight[0] = 0  # an input channel is no filter
        model[2].weight[0] = 0
        model[2].weight[0, 3] = 1e-30
    found = {layer.name: layer.dead_filters for layer in sparsity(model).layers}
    assert [found[name] for name in ("0", "1", "2")] == [2, 1, 0]
    assert found["3.weight_ih_l0"] is None
