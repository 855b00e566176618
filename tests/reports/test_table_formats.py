"""The leaderboard as markdown, LaTeX, csv, json and HTML, from hand-made results."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from harness.registry import load
from harness.reports.table import columns as layout
from harness.reports.table.formats import latex_text, render_leaderboard
from harness.reports.table.leaderboard import leaderboard
from harness.reports.table.rows import Row, row
from harness.results.verdicts import Comparison
from tests.support.results import a_cost, made, trained

REGISTRY = load()
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
    made(entry="dense-resnet20-cifar10-keras", when="20261103T120000Z-00000004", method="dense"),
    trained(when="20261102T120000Z-00000003", notes=("trained 2ep with cifar10-short",)),
    made(entry="smoked", status="smoke", measured=10.0, smoke="10 of 10000 images, evenly spread"),
)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return leaderboard(map(row, RESULTS), REGISTRY)


def test_markdown_is_golden(rows: list[Row]) -> None:
    assert render_leaderboard(rows, "markdown").splitlines() == [
        "| entry | sparsity % | MACs (M) | published | evaluated | retrained | Δ pp | verdict | n "
        "| v | date |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | --- |",
        "| l1norm-resnet20-cifar10-30-keras [1] | 0.00 | 0.44 | 77.28 | 77.10 | – | -0.18 "
        "| claim contradicted | 10,000 | 1 | 2026-11-03 |",
        "| └ dense-resnet20-cifar10-keras | 75.00 | 0.11 | 91.73 | 91.74 | – | +0.01 | exact "
        "| 10,000 | 1 | 2026-11-03 |",
        "| local-gmp [2] | 75.00 | 0.11 | – | – | 91.00 ± 1.00 | – | own result | 10,000 | 1 "
        "| 2026-11-02 |",
        "| smoked [3] | 75.00 | 0.11 | 91.73 | 10.00 | – | -81.73 | smoke | 10,000 | 1 "
        "| 2026-11-01 |",
        "| str-a-90 [1] | 75.00 | 0.11 | 91.73 | 91.74 | – | +0.01 | exact | 10,000 | 1 "
        "| 2026-11-01 |",
        "",
        "top-1 in %; sparsity over all conv+linear weights; MACs of one image, density applied; "
        "evaluated = published checkpoint measured by us; retrained = mean ± std over seeds "
        "(ddof 1); Δ = measured - published in points; n = images; v = version of the evaluation "
        "protocol.",
        "",
        "[1] 20 approximate images",
        "",
        "[2] trained 2ep with cifar10-short",
        "",
        "[3] 10 of 10000 images, evenly spread",
    ]


def test_csv_carries_unrounded_numbers_that_pandas_reads(rows: list[Row]) -> None:
    text = render_leaderboard(rows, "csv")
    table = pd.read_csv(io.StringIO(text), dtype={"published_top1_pct": str}).set_index("entry")
    assert list(table.index) == [r.entry for r in rows]
    assert table.loc["str-a-90", "delta_pp"] == 91.74 - 91.73
    assert table.loc["str-a-90", "published_top1_pct"] == "91.73"
    assert pd.isna(table.loc["str-a-90", "retrained_top1_pct"])
    assert table.loc["local-gmp", "retrained_std_pp"] == pd.Series([90.0, 91.0, 92.0]).std()
    assert len(list(csv.reader(io.StringIO(text)))) == 1 + len(rows)


def test_json_is_an_array_with_null_for_missing() -> None:
    [held] = json.loads(render_leaderboard([row(trained())], "json"))
    assert (held["published_top1_pct"], held["evaluated_top1_pct"]) == (None, None)
    assert (held["retrained_top1_pct"], held["retrained_std_pp"], held["n_seeds"]) == (91.0, 1.0, 3)
    assert (held["macs_effective"], held["weights_nnz"]) == (110_632, 148)
    assert (held["protocol"], held["protocol_version"], held["outdated"]) == ("cifar10", 1, False)


def test_chosen_columns_become_the_fields_they_stand_for(rows: list[Row]) -> None:
    columns = layout.chosen_columns(["retrained", "delta"])
    assert render_leaderboard(rows, "csv", columns).splitlines()[0] == (
        "entry,retrained_top1_pct,retrained_std_pp,n_seeds,delta_pp"
    )
    told = render_leaderboard(rows, "markdown", columns).splitlines()
    assert told[0] == "| entry | retrained | Δ pp |"
    assert (
        "top-1 in %; retrained = mean ± std over seeds (ddof 1); Δ = measured - published in "
        "points." in told
    )


def test_evaluated_and_retrained_numbers_never_share_a_column() -> None:
    evaluated, retrained = row(made(entry="a")), row(trained(entry="b"))
    assert (evaluated.evaluated_top1_pct, evaluated.retrained_top1_pct) == (91.74, None)
    assert (retrained.evaluated_top1_pct, retrained.retrained_top1_pct) == (None, 91.0)
    fields = [column.fields for column in layout.BY_KEY.values()]
    assert not [f for f in fields if {"evaluated_top1_pct", "retrained_top1_pct"} <= set(f)]


def test_one_seed_has_no_spread() -> None:
    single = row(trained(runs=trained().runs[:1]))
    assert single.retrained_std_pp is None
    assert "±" not in render_leaderboard([single], "markdown").splitlines()[2]


def test_a_verdict_that_is_not_about_accuracy_names_its_metric() -> None:
    result = made(
        status="claim contradicted",
        metrics={
            "top1_pct": Comparison("exact", published="77.49", measured=77.50, delta=0.01),
            "sparsity_pct": Comparison("claim contradicted", published="90", measured=0.0),
        },
    )
    assert "claim contradicted (sparsity)" in render_leaderboard([row(result)], "markdown")


def test_latex_is_a_balanced_booktabs_table(rows: list[Row]) -> None:
    text = render_leaderboard(rows, "latex")
    [spec] = re.findall(r"\\begin\{tabular\}\{([lr]+)\}", text)
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + len(rows)
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(spec)}
    assert [rule for rule in ("toprule", "midrule", "bottomrule") if text.count(rule) != 1] == []
    assert text.isascii()
    unescaped = re.sub(r"\\[{}]", "", text)
    assert unescaped.count("{") == unescaped.count("}")
    assert re.findall(r"(?<!\\)[%#_]", text.partition("\n")[2]) == []
    assert r"\quad dense-resnet20-cifar10-keras" in text


def test_latex_prints_own_rows_bold_and_spreads_with_pm(rows: list[Row]) -> None:
    text = render_leaderboard(rows, "latex", layout.chosen_columns(["accuracy"]))
    [own] = [line for line in text.splitlines() if "local-gmp" in line]
    assert own.count(r"\textbf{") == 6 and r"\textbf{91.00 $\pm$ 1.00}" in own
    assert sum(r"\textbf" in line for line in text.splitlines()) == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a TeX: pdflatex")
def test_latex_is_accepted_by_a_tex(rows: list[Row], tmp_path: Path) -> None:
    odd = '50%_of {all}^2 [x] ~ <a> | "b" é'
    strange = replace(rows[0], entry=odd, outdated=True, note="–Δ±→")
    body = render_leaderboard([*rows, strange], "latex")
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,xcolor}"
    text = rf"\documentclass{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "table.tex").write_text(text, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").read_bytes().startswith(b"%PDF")


def test_latex_prints_every_special_character() -> None:
    assert latex_text(r"a_b & 50% $x {y} #1 ~ ^ \z") == (
        r"a\_b \& 50\% \$x \{y\} \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}z"
    )


class Outline(HTMLParser):
    """Counts cells per row and keeps the classes of rows; unbalanced tags fail."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.classes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.classes.append(dict(attrs).get("class") or "")
        if tag in ("th", "td"):
            self.rows[-1].append(dict(attrs).get("scope") or tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_one_table_with_caption_scopes_and_classes(rows: list[Row]) -> None:
    text = render_leaderboard(rows, "html")
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert set(outline.rows[0]) == {"col"}
    assert {cells[0] for cells in outline.rows[1:]} == {"row"}
    assert {len(cells) for cells in outline.rows} == {len(outline.rows[0])}
    assert outline.classes.count("baseline") == 1
    assert "<caption>top-1 in %" in text


def test_html_and_markdown_disarm_foreign_text() -> None:
    hostile = row(made(entry="x", notes=("<script>alert(1)</script>",), method="a|b"))
    assert "<script>" not in render_leaderboard([hostile], "html")
    line = render_leaderboard(
        [hostile], "markdown", layout.chosen_columns(["method"])
    ).splitlines()[2]
    assert line == r"| x [1] | a\|b |"
