"""What is printed at the end: few results in full, many in one table."""

from __future__ import annotations

import pytest

from harness.commands.printed_results import FEW, print_results
from tests.support.results import made

SPARSITY = ["sparsity", "%"]
MANY = [made(entry=f"entry-{i}") for i in range(FEW)] + [made(entry="bad", status="mismatch")]


def test_many_results_are_lines_of_one_table_in_their_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_results(MANY)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["entry", "published", "evaluated", "Δ", "pp", "verdict", *SPARSITY]
    shown = [line.split()[0] for line in lines[1 : 1 + len(MANY)]]
    assert shown == [result.entry for result in MANY]


def test_failures_among_many_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_results(MANY)
    *_, last = capsys.readouterr().out.splitlines()
    assert last == f"bad: mismatch: {MANY[-1].verdict.reason}"


def test_few_results_are_shown_metric_by_metric(capsys: pytest.CaptureFixture[str]) -> None:
    print_results(MANY[:FEW])
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.split() == ["published", "measured", "Δ", "verdict"] for line in lines) == FEW
    assert sum(line.startswith("  top1_pct") for line in lines) == FEW
