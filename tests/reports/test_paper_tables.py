"""The papers' own tables, row by row against the transcribed ones, and how they are shown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.registry import entry_sha256, load
from harness.reports.papers.derived_figures import DerivedFigure, load_derived, save_derived
from harness.reports.papers.paper_formats import records, render_paper
from harness.reports.papers.paper_tables import (
    PaperTable,
    heading,
    how_to_check,
    paper_tables,
    printed_text,
    row_summary,
)
from harness.reports.papers.paper_terminal import paper_screen
from harness.reports.papers.published_figures import published_figures
from harness.results import Comparison, Result
from tests.registry.test_mnist import METRIC, layer_of, single
from tests.support.results import made

TABLES = Path(__file__).parent.parent / "fixtures/specs"
REGISTRY = load()
STR_COLUMNS = {
    "top1_pct": "top1_pct",
    "sparsity_pct": "sparsity_pct",
    "params_M": "params_millions",
    "flops_M": "flops_millions",
}
IP_COLUMNS = {
    "kept_pct_R": "kept_pct",
    "params_millions": "params_millions",
    "test_loss": "loss",
    "top1": "top1_pct",
    "top3": "top3_pct",
    "top5": "top5_pct",
}
Row = dict[str, str]


def transcribed(name: str) -> list[Row]:
    with (TABLES / f"{name}_published.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def of_readme(row: Row) -> bool:
    return "readme" in row["status"] and "RIGL" not in row["source"]


# Paper -> (transcript, which of its rows were read there, column -> metric).
SOURCES = {
    "acdc": (
        [r for r in transcribed("acdc") if r["verified"] == "yes" and r["id"].startswith("acdc-")],
        {"top1_pct": "top1_pct", "sparsity_nominal_pct": "sparsity_pct"},
    ),
    "str": (
        [
            row
            for row in transcribed("str")
            if of_readme(row)
            and (row["method"] == "STR" or row["setting"] == "-")
            and "STR" in row["source"]
        ],
        STR_COLUMNS,
    ),
    "dnw": (
        [
            row
            for row in transcribed("str")
            if of_readme(row) and row["method"] == "DNW" and "wiring" not in row["setting"]
        ],
        STR_COLUMNS,
    ),
    "ftwt": (
        [r for r in transcribed("ftwt") if r["source"].startswith("README results table")],
        {"top1": "top1_pct", "flops_reduction_pct": "flops_reduction_pct"},
    ),
    "rd-prune": (
        transcribed("rd_prune"),
        {
            "top1": "top1_pct",
            "sparsity_pct": "sparsity_pct",
            "flops_remaining_pct": "flops_remaining_pct",
        },
    ),
    "ipruning": ([r for r in transcribed("ipruning") if r["paper"] == "IPruning"], IP_COLUMNS),
    "edropout": ([r for r in transcribed("ipruning") if r["paper"] == "EDropout"], IP_COLUMNS),
}


def tables_of(paper: str, *results: Result) -> list[PaperTable]:
    figures = published_figures(REGISTRY, REGISTRY.select(paper=paper), results, {})
    return paper_tables(paper, REGISTRY, figures)


def printed(row: Row, columns: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """Metric and number of every figure of a transcribed row; a dense row prints no zeros."""
    dense = "dense" in row.get("method", "")
    return tuple(
        sorted(
            (metric, float(row[column]))
            for column, metric in columns.items()
            if row[column] and not (dense and metric in ("sparsity_pct", "flops_reduction_pct"))
        )
    )


@pytest.mark.parametrize("paper", SOURCES)
def test_every_transcribed_row_stands_in_a_table_in_its_order(paper: str) -> None:
    rows, columns = SOURCES[paper]
    wanted = [printed(row, columns) for row in rows]
    found = []
    for table in tables_of(paper):
        shown = [
            tuple(sorted((name, figure.published.value) for name, figure in row.cells.items()))
            for row in table.rows
        ]
        found += shown
        known = [row for row in shown if row in wanted]
        places = [wanted.index(row) for row in known]
        assert places == sorted(places), table.title
    missing = [row for row in wanted if row not in found]
    assert not missing
    extra = [row for row in found if row not in wanted]
    assert len(extra) == {"rd-prune": 4, "dnw": 1}.get(paper, 0)  # dense rows of their own


@pytest.mark.parametrize("row", single(), ids=lambda r: f"{r['id']}-{r['metric']}-{r['layer']}")
def test_every_mnist_figure_stands_in_the_line_of_its_network_or_layer(row: Row) -> None:
    entry = REGISTRY.get(row["id"])
    metric, layer = METRIC[row["metric"]], layer_of(row).removeprefix(".")
    lines = [
        line
        for table in tables_of(entry.paper)
        for line in table.rows
        if (line.entry, line.label) == (entry.id, layer or entry.id) and metric in line.cells
    ]
    [line] = lines
    assert line.cells[metric].published is entry.published[metric + layer_of(row)]


@pytest.mark.parametrize("paper", REGISTRY.papers)
def test_each_printed_figure_stands_in_one_cell(paper: str) -> None:
    tables = tables_of(paper)
    shown = sorted((r["entry"], r["figure"], r["printed"]) for r in records(tables))
    assert shown == sorted(
        (entry.id, name, cell.text)
        for entry in REGISTRY.select(paper=paper)
        for name, cell in entry.published.items()
    )
    for table in tables:
        count = int(table.summary.split()[0])
        assert count == len(table.figures) == sum(len(row.cells) for row in table.rows)


def test_a_judged_figure_stands_beside_what_is_printed() -> None:
    [table] = tables_of("akamaster", made("dense-resnet20-cifar10"))
    text = render_paper([table], "markdown")
    assert "| dense-resnet20-cifar10 | 91.73 | top-1 % 91.74 exact (e) |" in text
    assert "1 reproduced, 3 waiting for" in table.summary
    [record] = [r for r in json.loads(render_paper([table], "json")) if r["basis"]]
    assert (record["measured"], record["status"]) == (91.74, "exact")


@pytest.mark.parametrize("style", ["markdown", "latex", "html", "csv"])
def test_every_format_shows_every_figure(style: str) -> None:
    tables = tables_of("rd-prune")
    text = render_paper(tables, style)
    for table in tables:
        for figure in table.figures:
            assert figure.published.text in text
    if style == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == sum(len(table.figures) for table in tables)


def screen(tables: Sequence[PaperTable], width: int) -> list[str]:
    out = Console(width=width, file=io.StringIO(), record=True, color_system=None)
    out.print(paper_screen(tables, width), soft_wrap=True)
    return out.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("paper", REGISTRY.papers)
def test_a_terminal_shows_every_figure_and_nothing_is_cut(paper: str, width: int) -> None:
    tables = tables_of(paper)
    lines = screen(tables, width)
    assert max(map(len, lines)) <= width
    words = [word for line in lines for word in line.split()]
    for table in tables:
        for figure in table.figures:
            for word in printed_text(figure.published).split():
                words.remove(word)


def test_metrics_are_headed_with_their_units() -> None:
    names = ("top1_pct", "top1_error_pct", "params_millions", "size_kb", "gain_over_dense_pp")
    assert [heading(name) for name in names] == [
        *("top-1 %", "top-1 error %", "params (M)", "size (KB)", "gain over dense pp")
    ]


def test_every_paper_is_a_suite_and_the_way_to_check_it_ends_in_its_table() -> None:
    for paper in REGISTRY.papers:
        assert REGISTRY.suite(paper) == REGISTRY.select(paper=paper)
        assert how_to_check(paper, REGISTRY)[-1] == f"bench table --paper {paper}"


def test_what_was_derived_settles_a_figure_until_the_row_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_RECORD", str(tmp_path))
    entry = REGISTRY.get("rd-resnet32-cifar10-95.5")
    comparison = Comparison("published figure inconsistent", "95.5", reason="arithmetic")
    right = DerivedFigure(entry.id, entry_sha256(entry), "sparsity_pct", "a rule", comparison)
    save_derived([right, replace(right, entry_sha256="0" * 64, figure="top1_pct")])
    assert load_derived(REGISTRY) == {entry.id: {"sparsity_pct": comparison}}
    [figure] = [
        f
        for t in tables_of("rd-prune")
        for f in t.figures
        if (f.entry, f.figure) == (entry.id, "sparsity_pct")
    ]
    assert (figure.outcome, figure.basis) == ("published figure inconsistent", "derived")


def test_no_row_with_a_judged_figure_is_called_one_that_cannot_be_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BENCH_RECORD", str(Path(__file__).parents[2] / "reports"))
    found = published_figures(REGISTRY)
    judged = {row for row, mine in found.items() if any(f.basis is not None for f in mine)}
    called = {row: row_summary(mine) for row, mine in found.items() if mine}
    open_ = {row for row, said in called.items() if "cannot be checked" in said}
    assert len(judged) > 100
    assert len(open_) > 10
    assert not judged & open_
    assert called["str-resnet50-96.53"] == "3 reproduced, 1 without file or protocol"
    refuted = called["str-resnet50-81"]
    assert refuted == "2 reproduced, 1 published figure inconsistent, 1 waits: file"
