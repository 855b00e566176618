"""What `bench reproduce` prints about a result."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from harness.reports import printed_verdicts as tables
from harness.reports.table.cells import folded, status_style
from harness.results.schema import Result
from harness.results.verdicts import STATUSES, Comparison, failed
from tests.support.results import made, trained


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
    lines = blocks(replace(result, metrics=metrics))
    assert lines == [
        "str-a-90  exact  n=10,000 images, cifar10 v1",
        "                   published  measured      Δ  verdict",
        "  top1_pct             91.73     91.74  +0.01  exact: |Δ| <= 0.015 pp",
        "  flops_millions      4.09e3    4.09e3  -0.82  exact: as printed",
        "  params_millions       2.49         –      –  cannot check: no file",
        "  20 approximate images",
    ]


@pytest.mark.parametrize("width", [60, 80])
def test_a_verdict_block_fits_narrow_terminals(width: int) -> None:
    lines = blocks(made(status="claim contradicted"), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)


def test_seeds_of_a_retrained_result_are_counted_in_its_headline() -> None:
    assert "3 seeds" in blocks(trained())[0]


def test_ones_own_run_shows_mean_and_spread_and_is_called_an_own_result() -> None:
    result = trained()
    own = replace(
        result,
        paper=None,
        verdict=replace(result.verdict, status="reported"),
        metrics={"top1_pct": Comparison(status="reported", measured=91.0, reason="own result")},
    )
    values = [run.counts.top1_pct for run in own.runs]
    lines = blocks(own)
    assert f"{own.entry}  own result" in lines[0] and "mean ± std of 3 seeds" in lines[0]
    assert f"91.00 ± {np.std(values, ddof=1):.2f}" in lines[2]
    assert lines[2].endswith("own result") and "reported" not in "".join(lines)
