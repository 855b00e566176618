"""Golden tables from hand-made results."""

from __future__ import annotations

import csv
import io
import json

import pytest
from rich.console import Console

from harness.reports import tables
from harness.reports.columns import folded, status_style
from harness.results import Result
from harness.verdict import STATUSES, Comparison
from tests.harness.made import a_cost, made, trained

RESULTS = (
    made(approximate_images=20),
    made(
        entry="l1norm-resnet20-cifar10-30-keras",
        when="20261103T120000Z-00000002",
        status="claim contradicted",
        published="77.28",
        measured=77.10,
        method="l1norm",
        cost=a_cost(nnz=592, macs_effective=442_528),
        approximate_images=20,
    ),
    trained(when="20261102T120000Z-00000003", notes=("trained 2ep with cifar10-short",)),
    made(entry="smoked", status="smoke", measured=10.0, smoke="10 of 10000 images, evenly spread"),
)


def printed(results: tuple[Result, ...], width: int) -> list[str]:
    screen = Console(width=width, record=True, color_system=None, file=io.StringIO())
    rows = tables.leaderboard(results)
    screen.print(tables.rich_table(rows, screen.width))
    return [line.rstrip() for line in screen.export_text().splitlines()]


def test_markdown_is_golden() -> None:
    text = tables.render(tables.leaderboard(RESULTS), "markdown")
    assert text.splitlines() == [
        "| entry | sparsity % | MACs (M) | published | evaluated | retrained | Δ pp | verdict | n "
        "| date |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- |",
        "| l1norm-resnet20-cifar10-30-keras [1] | 0.00 | 0.44 | 77.28 | 77.10 | – | -0.18 "
        "| claim contradicted | 10,000 | 2026-11-03 |",
        "| local-gmp [2] | 75.00 | 0.11 | – | – | 91.00 ± 1.00 | – | reported | 10,000 "
        "| 2026-11-02 |",
        "| smoked [3] | 75.00 | 0.11 | 91.73 | 10.00 | – | -81.73 | smoke | 10,000 | 2026-11-01 |",
        "| str-a-90 [1] | 75.00 | 0.11 | 91.73 | 91.74 | – | +0.01 | exact | 10,000 | 2026-11-01 |",
        "",
        tables.LEGEND,
        "",
        "[1] 20 approximate images",
        "",
        "[2] trained 2ep with cifar10-short",
        "",
        "[3] 10 of 10000 images, evenly spread",
    ]


def test_csv_has_one_line_per_row_and_unrounded_numbers() -> None:
    text = tables.render(tables.leaderboard(RESULTS), "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["entry"] for row in rows] == [
        "l1norm-resnet20-cifar10-30-keras",
        "local-gmp",
        "smoked",
        "str-a-90",
    ]
    assert float(rows[3]["delta_pp"]) == 91.74 - 91.73
    assert (rows[3]["evaluated_top1_pct"], rows[3]["retrained_top1_pct"]) == ("91.74", "")
    assert rows[3]["published_top1_pct"] == "91.73"


def test_json_is_an_array_with_null_for_missing() -> None:
    [row] = json.loads(tables.render(tables.leaderboard([trained()]), "json"))
    assert row["published_top1_pct"] is None
    assert row["evaluated_top1_pct"] is None
    assert (row["retrained_top1_pct"], row["retrained_std_pp"], row["n_seeds"]) == (91.0, 1.0, 3)
    assert row["macs_effective"] == 110_632


def test_evaluated_and_retrained_numbers_never_share_a_column() -> None:
    evaluated, retrained = tables.leaderboard([made(entry="a"), trained(entry="b")])
    assert (evaluated.evaluated_top1_pct, evaluated.retrained_top1_pct) == (91.74, None)
    assert (retrained.evaluated_top1_pct, retrained.retrained_top1_pct) == (None, 91.0)


def test_one_seed_has_no_spread() -> None:
    [row] = tables.leaderboard([trained(runs=trained().runs[:1])])
    assert row.retrained_std_pp is None
    assert "±" not in tables.render([row], "markdown").splitlines()[2]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("entry", ["a", "b", "c"]),
        ("top1", ["b", "c", "a"]),
        ("sparsity", ["c", "a", "b"]),
        ("macs", ["b", "a", "c"]),
        ("date", ["c", "a", "b"]),
        ("dataset", ["b", "c", "a"]),
    ],
)
def test_sort_orders(sort: str, order: list[str]) -> None:
    results = [
        made("a", "20260102T0Z-1", measured=10.0, cost=a_cost(200, 200)),
        made("b", "20260101T0Z-1", measured=90.0, cost=a_cost(300, 100), dataset="a"),
        trained(
            entry="c",
            when="20260103T0Z-1",
            measured=50.0,
            cost=a_cost(100, 300),
            model="a",
        ),
    ]
    assert [row.entry for row in tables.leaderboard(results, sort=sort)] == order
    assert sort in tables.SORTS


def test_filters_must_all_agree() -> None:
    results = [made("a"), made("b", dataset="digits"), made("c", method="dnw")]
    chosen = tables.leaderboard(results, method="str", dataset="cifar10", model="resnet20")
    assert [row.entry for row in chosen] == ["a"]
    assert [row.entry for row in tables.leaderboard(results, paper="gmp")] == []


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_a_terminal_of_any_width_shows_whole_ids_and_numbers(width: int) -> None:
    lines = printed(RESULTS, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    first = "".join(
        line.split(" ")[0] for line in lines[1 : lines.index("[1] 20 approximate images")]
    )
    assert "l1norm-resnet20-cifar10-30-keras" in first
    for number in ("91.73", "91.74", "+0.01", "77.28", "77.10", "-0.18"):
        assert number in text


def test_eighty_columns_are_golden() -> None:
    assert printed(RESULTS[:2], 80)[:4] == [
        "entry                        published  evaluated   Δ pp  verdict",
        "l1norm-resnet20-cifar10-30-      77.28      77.10  -0.18  claim contradicted",
        "keras [1]",
        "str-a-90 [1]                     91.73      91.74  +0.01  exact",
    ]


def test_a_wide_terminal_shows_every_column() -> None:
    head = printed(RESULTS, 160)[0]
    assert head.split("  ")[0] == "entry"
    assert all(column.head in head for column in tables.COLUMNS)


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (40, ["str-resnet50-90"]),
        (12, ["str-", "resnet50-90"]),
        (5, ["str-", "resne", "t50-", "90"]),
    ],
)
def test_ids_fold_after_dashes_and_keep_every_character(width: int, lines: list[str]) -> None:
    assert folded("str-resnet50-90", width).split("\n") == lines


def test_every_failure_is_red_and_no_success_is() -> None:
    from harness.verdict import failed

    assert {s for s in STATUSES if status_style(s) == "red"} == {s for s in STATUSES if failed(s)}


def blocks(result: Result, width: int = 80) -> list[str]:
    screen = Console(width=width, record=True, color_system=None, file=io.StringIO())
    screen.print(tables.verdict_blocks([result]))
    return [line.rstrip() for line in screen.export_text().splitlines()]


def test_a_verdict_block_shows_published_next_to_measured() -> None:
    result = made(approximate_images=20)
    metrics = {
        "top1_pct": result.metrics["top1_pct"],
        "flops_millions": Comparison(
            status="exact", published="4.09e3", measured=4089.184, delta=-0.816, reason="as printed"
        ),
        "params_millions": Comparison(status="cannot check", published="2.49", reason="no file"),
        "loss": Comparison(status="reported", measured=0.25),
    }
    lines = blocks(result.model_copy(update={"metrics": metrics}))
    assert lines == [
        "str-a-90  exact  n=10,000 images, cifar10 v1, 20 approximate images",
        "                   published  measured      Δ  verdict",
        "  top1_pct             91.73     91.74  +0.01  exact: |Δ| <= 0.015 pp",
        "  flops_millions      4.09e3    4.09e3  -0.82  exact: as printed",
        "  params_millions       2.49         –      –  cannot check: no file",
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_a_verdict_block_fits_narrow_terminals(width: int) -> None:
    lines = blocks(made(status="claim contradicted"), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)


def test_seeds_of_a_retrained_result_are_counted_in_its_headline() -> None:
    assert "3 seeds" in blocks(trained())[0]


def test_a_verdict_that_is_not_about_accuracy_names_its_metric() -> None:
    result = made(status="claim contradicted").model_copy(
        update={
            "metrics": {
                "top1_pct": Comparison("exact", published="77.49", measured=77.50, delta=0.01),
                "sparsity_pct": Comparison("claim contradicted", published="90", measured=0.0),
            }
        }
    )
    assert "claim contradicted (sparsity)" in tables.render([tables.row(result)], "markdown")
