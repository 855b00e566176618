"""The MNIST rows of the registry against the transcribed tables, figure by figure."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from harness import registry
from harness.registry.entries import Published

TABLE = Path(__file__).parent.parent / "fixtures/specs/mnist_published.csv"
REGISTRY = registry.load()
METRIC = {  # of the transcript -> of the registry
    "top1_error": "top1_error_pct",
    "accuracy": "top1_pct",
    "parameters": "params_millions",
    "compression": "compression_ratio",
    "weights": "weights_thousands",
    "flop": "flops_thousands",
    "activations_nonzero": "activations_pct",
    "density": "density_pct",
    "flop_remaining": "flops_remaining_pct",
    "size": "size_kb",
    "density_P": "density_pct",
    "weight_bits_PQ": "weight_bits",
    "weight_bits_PQH": "huffman_weight_bits",
    "index_bits_PQ": "index_bits",
    "index_bits_PQH": "huffman_index_bits",
    "compressed_PQ": "shared_pct",
    "compressed_PQH": "huffman_pct",
}
PER_LAYER = "sparsity per layer"
GAINS = {  # differences in words: alias -> (metric, number, bound)
    "lottery-lenet300-13.5": ("early_gain_over_dense_pp", "0.3", "at least"),
    "lottery-lenet300-best-50k": ("gain_over_dense_pp", "0.35", "at most"),
    "lottery-lenet300-3.6": ("early_gain_over_dense_pp", "0", None),
}
# No network for a sequence of rows; a difference that repeats two errors; words without a number.
LEFT_OUT = {
    *("snip-lstm128-95", "snip-lstm256-95", "snip-gru128-95", "snip-gru256-95"),
    "lottery-lenet300-reinit-21.1",
}


def rows() -> list[dict[str, str]]:
    with TABLE.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["id"] not in LEFT_OUT]


def layer_of(row: dict[str, str]) -> str:
    inner = {"ip1": "fc1", "ip2": "fc2", "ip3": "fc3"}.get(row["layer"], row["layer"])
    return "" if inner in ("", "total") else f".{inner}"


def cell_of(row: dict[str, str]) -> Published:
    entry = REGISTRY.get(row["id"])  # by its alias
    return entry.published[METRIC[row["metric"]] + layer_of(row)]


def single() -> list[dict[str, str]]:
    return [row for row in rows() if row["metric"] in METRIC]


@pytest.mark.parametrize("row", single(), ids=lambda r: f"{r['id']}-{r['metric']}-{r['layer']}")
def test_every_figure_has_its_printed_digits(row: dict[str, str]) -> None:
    cell = cell_of(row)
    number = re.findall(r"[\d.]+", row["printed"])
    before_after = re.search("->| to ", row["printed"])
    wanted = number[1] if before_after else number[0]
    scale = {"params_millions": 1e-3, "top1_pct": 100.0}.get(METRIC[row["metric"]], 1.0)
    assert cell.value == pytest.approx(float(wanted) * scale, rel=1e-12)
    if scale == 1.0 and "e" not in cell.text:
        assert cell.text == wanted
    if before_after:
        assert number[0] in cell.note


@pytest.mark.parametrize(
    "row", [r for r in rows() if r["metric"] == PER_LAYER], ids=lambda r: r["id"]
)
def test_shares_of_layers_stand_in_their_order(row: dict[str, str]) -> None:
    published = REGISTRY.get(row["id"]).published
    layers = {"lenet300": ("fc1", "fc2", "fc3"), "lenet5caffe": ("conv1", "conv2", "fc1", "fc2")}
    found = [published[f"sparsity_pct.{layer}"].text for layer in layers[row["network"]]]
    assert found == re.findall(r"[\d.]+", row["printed"])


@pytest.mark.parametrize("alias", GAINS)
def test_differences_in_words_are_bounds(alias: str) -> None:
    metric, number, bound = GAINS[alias]
    (row,) = [row for row in rows() if row["id"] == alias]
    cell = REGISTRY.get(alias).published[metric]
    assert (cell.text, cell.bound, cell.value) == (number, bound, float(row["value"]))


def test_nothing_of_the_transcript_is_left_over() -> None:
    other = {(r["id"], r["metric"]) for r in rows() if r["metric"] not in (*METRIC, PER_LAYER)}
    assert other == {(alias, "delta_accuracy") for alias in GAINS} | {
        ("sws-lenet300", "delta"),  # of the two errors beside it
        ("sws-lenet5caffe", "delta"),
    }


def test_impossible_figures_are_suspect_and_no_others() -> None:
    doubtful = {
        (e.id, metric)
        for e in REGISTRY.select(dataset="mnist")
        for metric, cell in e.published.items()
        if cell.suspect
    }
    assert doubtful == {
        ("deep-compression-lenet300-mnist", "huffman_weight_bits"),
        ("deep-compression-lenet5caffe-mnist", "huffman_weight_bits"),
        ("deep-compression-lenet5caffe-mnist", "huffman_weight_bits.fc2"),
    }


@pytest.mark.parametrize(
    "name", ["deep-compression-lenet300-mnist", "deep-compression-lenet5caffe-mnist"]
)
def test_a_mean_lies_between_what_it_is_the_mean_of(name: str) -> None:
    """Why those are impossible; every other total of bits is possible."""
    published = REGISTRY.get(name).published
    for metric in ("weight_bits", "index_bits", "huffman_weight_bits", "huffman_index_bits"):
        parts = [c.value for key, c in published.items() if key.startswith(f"{metric}.")]
        total = published[metric]
        inside = min(parts) - 0.05 <= total.value <= max(parts) + 0.05
        assert inside != total.suspect
    for key, cell in published.items():
        coded = key.startswith("huffman_") and "_bits." in key
        fixed = published[key.removeprefix("huffman_")].value if coded else None
        assert fixed is None or (cell.value > fixed + 0.05) == cell.suspect  # no code is longer


def test_rows_with_a_printed_spread_have_it() -> None:
    spread = {e.id for e in REGISTRY.select(dataset="mnist") for c in e.published.values() if c.std}
    assert len(spread) == 8 and all("-90-init-" in id for id in spread)
    assert all(REGISTRY.get(id).published["top1_error_pct"].n_runs == 20 for id in spread)


def test_every_mnist_recipe_says_part_by_part_who_specified_it() -> None:
    recipes = {e.recipe for e in REGISTRY.select(dataset="mnist") if e.recipe}
    assert len(recipes) == 8
    for name in recipes:
        recipe = REGISTRY.recipes[name]
        assert recipe.parts and recipe.assumed == ", ".join(recipe.assumed_parts) != ""
