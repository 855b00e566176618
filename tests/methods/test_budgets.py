"""Budget transfer: from thresholded weights, from the published table, and into settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from methods import budgets
from methods.base import Schedule
from methods.dnw import DNW

FIXTURES = Path(__file__).parents[1] / "fixtures" / "str"
ARRAYS = np.load(FIXTURES / "convert_and_budget.npz")
LAYERS = ["conv1", "layer1.0", "layer1.3", "fc"]
RATE_ATOL = 1e-7  # a float32 mean written as a Python float

TABLE = (
    "\ufeffMetric,Params,FLOPs,Sparsity (%),,\r\n"
    "Overall,100,900,79.55,87.7,90.23\r\n"
    "Backbone,90,800,1,2,3\r\n"
    "Layer 1 - conv1,40,400,51.46,63.02,59.8\r\n"
    "Layer 2 - layer1.0.conv1,60,500,69.36,87.57,83.28\r\n"
    "AP,0,9,0,0,0\r\n"
)


def _effective():
    prefix = "dense__module."
    return {
        key.removeprefix(prefix): torch.from_numpy(ARRAYS[key])
        for key in ARRAYS
        if key.startswith(prefix)
    }


def test_released_rates_and_counts_equal_the_reference_transfer():
    rates = budgets.from_weights(_effective(), variant="released")
    assert list(rates) == LAYERS
    for layer, rate in rates.items():
        assert rate == pytest.approx(ARRAYS[f"dnw_prune_rate__module.{layer}"], abs=RATE_ATOL)
        size = int(ARRAYS[f"str_numel__module.{layer}"])
        pruned = size - budgets.truncated_count(rate, size)
        assert pruned == int(ARRAYS[f"dnw_n_pruned__module.{layer}"])


def test_intended_budget_is_the_exact_count():
    counts = budgets.from_weights(_effective())
    for layer in LAYERS:
        assert counts[layer] == int(ARRAYS[f"str_nonzero__module.{layer}"])
    assert counts["conv1"] == 216 - 132  # the released rate loses one of these


def test_weights_without_a_layer_are_refused():
    with pytest.raises(ValueError, match="no weight with two or more dimensions"):
        budgets.from_weights({"bn.weight": torch.ones(3)})


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(TABLE.encode())
    return path


@pytest.mark.parametrize("column", [87.7, "87.70", "87.7"])
def test_csv_column_is_named_by_its_overall_sparsity(table, column):
    assert budgets.from_csv(table, column) == {
        "conv1": pytest.approx(0.6302),
        "layer1.0.conv1": pytest.approx(0.8757),
    }


def test_unknown_csv_column_lists_the_known_ones(table):
    with pytest.raises(ValueError, match=r"no column 88; .*: 79\.55, 87\.7, 90\.23"):
        budgets.from_csv(table, 88)


def test_another_table_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("Layer,STR\n1,59.80%\n")
    with pytest.raises(ValueError, match="no row 'Overall'"):
        budgets.from_csv(path, 90)


def test_settings_read_a_budget_from_a_table_or_a_checkpoint(table, tmp_path):
    path = tmp_path / "sparse.safetensors"
    save_file({"fc.weight": torch.eye(3), "fc.bias": torch.ones(3)}, path)
    assert DNW.Settings(budget=f"{table}:90.23").budget["conv1"] == pytest.approx(0.598)
    assert DNW.Settings(budget=str(path)).budget == {"fc": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": {"9": 0.5}, "sparsity": 0.5}, "budget names '9', which is no chosen layer"),
        ({"budget": {"0": 0.5}}, "budget has no value for layer '1'"),
        ({"budget": {"9": 0.5, "8": 0.5}, "sparsity": 0.5}, "budget names '9'"),
        ({"budget": {"0": 99, "1": 1}}, "budget keeps 99 weights of '0', which has 12"),
        ({"budget": {"0": -1, "1": 1}}, "budget keeps -1 weights of '0', which has 12"),
    ],
)
def test_a_budget_that_does_not_fit_the_model_is_refused(options, message):
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=message):
        DNW(DNW.Settings(**options)).attach(net, Schedule(1, 1))


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"0": 1.5}, r"rate 1\.5 is not a fraction"),
        ({"0": 1.0625}, r"rate 1\.0625 is not a fraction"),
        ({"0": -0.0625}, r"rate -0\.0625 is not a fraction"),
        ("somewhere", "neither FILE.csv:COLUMN"),
        ({"0": "many"}, "budget"),
    ],
)
def test_bad_budgets_are_refused_with_the_settings(budget, message):
    with pytest.raises(ValueError, match=message):
        DNW.Settings(budget=budget)


def test_a_budget_may_keep_all_or_nothing():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    for budget in ({"0": 0, "1": 6}, {"0": 12, "1": 0}, {"0": 0.0, "1": 1.0}):
        assert budgets.targets(net, budgets.BudgetSettings(budget=budget)) == budget


def test_a_wrong_name_is_shown_the_first_six_layers():
    net = nn.Sequential(*(nn.Linear(2, 2) for _ in range(8)))
    settings = budgets.BudgetSettings(budget={"9": 0.5}, sparsity=0.5)
    with pytest.raises(ValueError, match=r"layers: 0, 1, 2, 3, 4, 5, \.\.\."):
        budgets.targets(net, settings)


def test_tables_and_norms_under_state_dict_keys_are_no_layers():
    held = {"fc.weight": torch.eye(3), "pos_embed": torch.ones(2, 3), "bn.weight": torch.ones(3)}
    assert budgets.from_weights(held) == {"fc": 3}
    assert budgets.from_weights({"conv1": torch.eye(2), "other": torch.ones(2, 2)}) == {
        "conv1": 2,
        "other": 4,
    }


def test_integers_are_counts_and_floats_are_rates():
    budget = DNW.Settings(budget={"a": 1, "b": 1.0, "c": 0.5}).budget
    assert [type(value) for value in budget.values()] == [int, float, float]
