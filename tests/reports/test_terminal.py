"""The leaderboard on terminals of any width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from harness.registry import load
from harness.reports.table.columns import DEFAULT, chosen_columns
from harness.reports.table.leaderboard import leaderboard
from harness.reports.table.rows import Row, row
from harness.reports.table.terminal import leaderboard_screen
from tests.reports.test_table_formats import RESULTS

ROWS = leaderboard(map(row, RESULTS), load())


def printed(rows: list[Row], width: int, *columns: str, colour: str | None = None) -> list[str]:
    out = io.StringIO()
    terminal = Console(
        width=width,
        file=out,
        force_terminal=bool(colour),
        color_system=colour,  # type: ignore[arg-type]
    )
    terminal.print(
        leaderboard_screen(rows, width, chosen_columns(columns) if columns else None), end=""
    )
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
def test_nothing_is_lost_at_any_width(width: int) -> None:
    lines = printed(ROWS, width)
    assert max(map(len, lines)) <= width
    text = " ".join(line.strip() for line in lines)
    names = "".join(line.strip().split("  ")[0] for line in lines)
    for r in ROWS:
        assert r.entry in names
    for fact in ("91.73", "91.74", "+0.01", "91.00 ± 1.00", "75.00", "10,000", "2026-11-02"):
        assert fact in text


def test_eighty_columns_are_golden() -> None:
    assert printed(ROWS, 80)[:8] == [
        "entry                           published  evaluated    Δ pp  verdict",
        "l1norm-resnet20-cifar10-30-         77.28      77.10   -0.18  claim contradicted",
        "keras [1]",
        "  sparsity % 0.00 · MACs (M) 0.44 · n 10,000 · v 1 · date 2026-11-03",
        "└ dense-resnet20-cifar10-keras      91.73      91.74   +0.01  exact",
        "  sparsity % 75.00 · MACs (M) 0.11 · n 10,000 · v 1 · date 2026-11-03",
        "local-gmp [2]                           –          –       –  own result",
        "  sparsity % 75.00 · MACs (M) 0.11 · retrained 91.00 ± 1.00 · n 10,000 · v 1 ·",
    ]


def test_sixty_columns_are_golden() -> None:
    assert printed(ROWS, 60)[:6] == [
        "entry",
        "  published  evaluated     retrained    Δ pp  verdict",
        "l1norm-resnet20-cifar10-30-keras [1]",
        "      77.28      77.10             –   -0.18  claim",
        "                                              contradicted",
        "  sparsity % 0.00 · MACs (M) 0.44 · n 10,000 · v 1 ·",
    ]


def test_a_wide_terminal_shows_every_column_in_one_line() -> None:
    lines = printed(ROWS, 160)
    assert [c.head in lines[0] for c in DEFAULT if not c.only_if_any] == [True] * 11
    assert lines[1].startswith("l1norm-resnet20-cifar10-30-keras [1]")
    assert lines[2].startswith("└ dense-resnet20-cifar10-keras")


def test_details_fold_before_an_id_does() -> None:
    whole = max(len(line) for line in printed(ROWS, 300)[:3])
    head, first, below, *_ = printed(ROWS, whole - 1)
    assert first.startswith("l1norm-resnet20-cifar10-30-keras [1]")
    assert head.split()[-2:] == ["n", "v"]
    assert below.strip() == "date 2026-11-03"


def test_chosen_columns_come_in_the_given_order() -> None:
    assert printed(ROWS, 100, "delta", "method")[0].split() == ["entry", "Δ", "pp", "method"]


def test_an_outdated_row_is_dim_and_a_failure_red() -> None:
    from dataclasses import replace

    failed, fine, *_ = ROWS
    lines = printed([failed, replace(fine, outdated=True)], 160, colour="standard")
    assert "\x1b[31mclaim contradicted" in lines[1]
    assert lines[2].startswith("\x1b[2m└ dense-resnet20-cifar10-keras")
    assert "\x1b[31m" not in lines[2] and "\x1b[32m" not in lines[2]
