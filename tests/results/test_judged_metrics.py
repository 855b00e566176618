"""From counts to verdicts: STR's budgets rebuilt, claims checked, smoke never judged."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from harness import registry
from harness.models import build
from harness.profile.macs import DenseMacs, layer_costs, total_macs
from harness.profile.zeros import sparsity
from harness.registry import Entry, Published
from harness.results.judged_metrics import Measured, judge
from harness.results.schema import Cost, Counts, LayerCost
from harness.results.tolerances import as_printed, judge_count
from harness.results.verdicts import overall
from tests.support.results import a_cost, counts

BUDGETS = Path(__file__).parent.parent / "fixtures" / "str" / "budgets_resnet50.csv"
# id -> column of the budgets file; the README prints the sparsity with its own digits.
README = {
    "str-resnet50-81": "81.27",
    "str-resnet50-90": "90.23",
    "str-resnet50-95": "95.15",
    "str-resnet50-96": "96.11",
    "str-resnet50-96.53": "96.53",
    "str-resnet50-98": "98.05",
    "str-resnet50-99": "98.98",
}


@cache
def budget(column: str) -> dict[str, tuple[int, int, float]]:
    """Layer name -> (weights, dense MACs, percent of zeros), read without the code under test."""
    with BUDGETS.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    index = rows[1].index(column)
    layers = [row for row in rows if row[0].startswith("Layer ")]
    return {
        row[0].partition(" - ")[2]: (int(row[1]), int(row[2]), float(row[index])) for row in layers
    }


def kept(column: str) -> dict[str, int]:
    return {
        name: total - round(total * zeros / 100)
        for name, (total, _, zeros) in budget(column).items()
    }


def cost_of(column: str) -> Cost:
    """The cost of a ResNet-50 with a budget's zeros, summed here by hand."""
    rows = []
    for name, nnz in kept(column).items():
        total, macs, _ = budget(column)[name]
        layer = LayerCost(
            name=name,
            kind="conv",
            shape=(total,),
            total=total,
            nnz=nnz,
            macs_dense=macs,
            macs_effective=macs * nnz // total,
        )
        rows.append(layer)
    nnz, total = sum(r.nnz for r in rows), sum(r.total for r in rows)
    effective = sum(r.macs_effective for r in rows)
    return Cost(
        params=25_557_032,
        nnz=nnz,
        total=total,
        macs_dense=sum(r.macs_dense for r in rows),
        macs_effective=effective,
        fvcore_total=0,
        prunable_nnz=nnz,
        prunable_total=total,
        extra={"flops_millions": effective / 1e6},
    )


def measured(cost: Cost, top1_pct: float = 50.0, **facts: object) -> Measured:
    found = Counts(n=50_000, top1=round(500 * top1_pct), top3=50_000, top5=50_000, loss_sum=1.0)
    return Measured(counts=found, cost=cost, n_total=50_000, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("id", "column"), README.items())
def test_every_readme_row_of_str_follows_from_its_budget(id: str, column: str) -> None:
    entry = registry.get(id)
    found = judge(entry, measured(cost_of(column)))
    assert found["sparsity_pct"].published == column
    assert found["sparsity_pct"].status == "exact"
    assert found["flops_millions"].status == "exact"
    expected = "published figure inconsistent" if column == "81.27" else "exact"
    assert found["params_millions"].status == expected


def test_the_81_row_shows_what_was_measured_beside_the_contradiction() -> None:
    found = judge(registry.get("str-resnet50-81"), measured(cost_of("81.27")))["params_millions"]
    assert found.published == "4.47"
    assert found.measured == sum(kept("81.27").values()) / 1e6
    assert found.delta == pytest.approx(0.306, abs=0.001)  # 4.776 - 4.47
    assert "leaves 4.78 M" in found.reason
    # A file without zeros contradicts its claim; the figure shown must not become the implied one.
    dense = replace(cost_of("81.27"), prunable_nnz=25_502_912)
    shown = judge(registry.get("str-resnet50-81"), measured(dense))["params_millions"]
    assert shown.measured == 25.502912


def test_the_81_row_is_published_figure_inconsistent_overall() -> None:
    metrics = judge(registry.get("str-resnet50-81"), measured(cost_of("81.27"), 76.12))
    verdict = overall(metrics)
    assert verdict.status == "published figure inconsistent"
    assert verdict.reason.startswith("params_millions: 81.27 % sparsity of 25,502,912 weights")


def test_zeros_counted_in_a_real_resnet50_give_the_same_cost() -> None:
    # On the meta device first: nobody needs the 25 million random numbers of an initialisation.
    with torch.device("meta"):
        model = build("resnet50").to_empty(device="cpu")
    weights = dict(model.named_parameters())
    with torch.no_grad():
        for name, nnz in kept("90.23").items():
            flat = weights[f"{name}.weight"].view(-1)
            flat.fill_(1e-30)  # tiny is not zero
            flat[nnz:] = 0.0
    dense = DenseMacs({name: macs for name, (_, macs, _) in budget("90.23").items()}, 0, {})
    zeros = sparsity(model)
    by_hand = cost_of("90.23")
    assert zeros.counts() == (by_hand.nnz, by_hand.total)
    effective = total_macs(layer_costs(zeros, dense))
    assert effective == (4_089_184_256, by_hand.macs_effective)


def test_a_dense_row_counts_every_parameter_and_prints_its_flops_with_an_exponent() -> None:
    dense = replace(
        cost_of("81.27"), prunable_nnz=25_502_912, extra={"flops_millions": 4089.184256}
    )
    found = judge(registry.get("dense-resnet50-str"), measured(dense))
    assert found["params_millions"].status == "exact"  # 25.6: with batch norm and bias
    assert found["flops_millions"].status == "exact"  # 4.09e3


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("4.09e3", 4089.184, "4.09e3"),
        ("4.09e3", 4096.0, "4.10e3"),
        ("705", 705.285, "705"),
        ("2.49", 2.4951, "2.50"),
    ],
)
def test_numbers_are_rounded_to_the_printed_digits(text: str, value: float, shown: str) -> None:
    assert as_printed(text, value) == shown
    status = judge_count(Published(text=text, source="s"), value).status
    assert status == ("exact" if shown == text else "near")


def entry(**published: Published) -> Entry:
    base = registry.get("str-resnet50-90")
    return replace(base, published=published)


def number(text: str, **facts: object) -> Published:
    return Published(text=text, source="table", **facts)  # type: ignore[arg-type]


def statuses(one: Entry, found: Measured) -> Mapping[str, str]:
    return {name: c.status for name, c in judge(one, found).items() if c.published}


def test_a_smoke_run_judges_no_accuracy() -> None:
    one = entry(top1_pct=number("91.73"), top5_pct=number("99.00"))
    found = Measured(counts(9_173), a_cost(), n_total=10_000, smoke="10 of 10000 images")
    assert statuses(one, found) == {"top1_pct": "smoke", "top5_pct": "smoke"}


def test_a_suspect_cell_is_shown_and_not_judged() -> None:
    one = entry(top1_pct=number("10.00", suspect=True, note="misprint"))
    [(name, found)] = [
        (n, c)
        for n, c in judge(one, Measured(counts(9_173), a_cost(), n_total=10_000)).items()
        if c.published
    ]
    assert (name, found.status, found.measured) == ("top1_pct", "suspect", 91.73)
    assert found.reason == "misprint"


def test_a_figure_that_needs_the_methods_state_cannot_be_checked() -> None:
    one = entry(flops_reduction_pct=number("50.0"), kept_pct=number("40"))
    found = judge(one, Measured(counts(9_173), a_cost(), n_total=10_000))
    assert found["flops_reduction_pct"].status == "cannot check"
    assert found["kept_pct"].measured is None


def test_loss_is_shown_and_not_judged() -> None:
    one = entry(loss=number("0.1"))
    found = judge(one, Measured(counts(9_173), a_cost(), n_total=10_000))["loss"]
    assert (found.status, found.measured, found.published) == ("reported", 0.25, "0.1")


def test_seeds_are_judged_by_their_mean() -> None:
    one = entry(top1_pct=number("91.00", std="0.20"))
    found = Measured(
        counts(9_000), a_cost(), n_total=10_000, per_seed_pct={"top1_pct": [90.0, 91.0, 92.0]}
    )
    top1 = judge(one, found)["top1_pct"]
    assert (top1.status, top1.measured) == ("consistent", 91.0)


def test_accuracy_sparsity_and_loss_are_reported_even_if_nobody_published_them() -> None:
    found = judge(entry(), Measured(counts(9_173), a_cost(), n_total=10_000))
    assert {n: c.status for n, c in found.items()} == dict.fromkeys(
        ("top1_pct", "sparsity_pct", "loss", "flops_millions"), "reported"
    )
    assert found["top1_pct"].measured == 91.73
    assert found["sparsity_pct"].measured == 75.0


def test_layer_rows_keep_the_counts_they_were_given() -> None:
    row = LayerCost(
        name="a", kind="conv", shape=(1,), total=4, nnz=0, macs_dense=8, macs_effective=0
    )
    assert replace(a_cost(), layers=(row,)).collapsed == ("a",)
