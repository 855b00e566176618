"""Filters, orders, baselines and old protocols."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.registry import load
from harness.reports.table.columns import shown_columns
from harness.reports.table.formats import render_leaderboard
from harness.reports.table.leaderboard import SORTS, Wanted, leaderboard
from harness.reports.table.rows import Row, row
from harness.results.schema import Protocol
from tests.support.results import a_cost, made, trained

REGISTRY = load()
BASELINE = "dense-resnet20-cifar10-keras"
PRUNED = "l1norm-resnet20-cifar10-30-keras"  # whose baseline that is


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("entry", ["a", "b", "c"]),
        ("top1", ["b", "c", "a"]),
        ("delta", ["a", "b", "c"]),
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
        trained(entry="c", when="20260103T0Z-1", measured=50.0, cost=a_cost(100, 300), model="a"),
    ]
    shown = leaderboard(map(row, results), REGISTRY, sort=sort)
    assert [r.entry for r in shown] == order
    assert sort in SORTS


def test_filters_must_all_agree_and_each_takes_several_values() -> None:
    rows = [
        row(result)
        for result in (made("a"), made("b", dataset="digits"), made("c", method="dnw"), made("d"))
    ]
    wanted = Wanted(method=("str", "gmp"), dataset=("cifar10",), model=("resnet20",))
    assert [r.entry for r in leaderboard(rows, REGISTRY, wanted)] == ["a", "d"]
    several = Wanted(method=("str", "dnw"))
    assert [r.entry for r in leaderboard(rows, REGISTRY, several)] == ["a", "b", "c", "d"]
    assert leaderboard(rows, REGISTRY, Wanted(paper=("gmp",))) == []
    assert leaderboard(rows, REGISTRY, Wanted(verdict=("mismatch",))) == []


def test_the_newest_full_result_counts_per_way_of_measuring() -> None:
    results = [
        made("a", "20260101T0Z-1", measured=1.0),
        made("a", "20260102T0Z-1", measured=2.0),
        made("a", "20260103T0Z-1", measured=3.0, smoke="few", status="smoke"),
        trained(entry="a", when="20260101T0Z-2"),
    ]
    shown = leaderboard(map(row, results), REGISTRY)
    assert [(r.evaluated_top1_pct, r.retrained_top1_pct) for r in shown] == [
        (2.0, None),
        (None, 91.0),
    ]


def some_rows() -> list[Row]:
    results = (
        made(BASELINE, method="dense", measured=91.0),
        made(PRUNED, method="l1norm", measured=77.0),
        made("l1norm-resnet20-cifar10-90-keras", method="l1norm", measured=68.0),
        made("zebra", method="str"),
    )
    return [row(result) for result in results]


def test_a_baseline_stands_below_the_rows_it_belongs_to() -> None:
    shown = leaderboard(some_rows(), REGISTRY)
    assert [(r.entry, r.is_baseline) for r in shown] == [
        (PRUNED, False),
        ("l1norm-resnet20-cifar10-90-keras", False),
        (BASELINE, True),
        ("zebra", False),
    ]
    assert {r.baseline for r in shown[:2]} == {BASELINE}


def test_a_baseline_comes_along_when_a_filter_leaves_it_out_but_not_among_verdicts() -> None:
    shown = leaderboard(some_rows(), REGISTRY, Wanted(method=("l1norm",)))
    assert [r.entry for r in shown][-1] == BASELINE
    verdicts = leaderboard(some_rows(), REGISTRY, Wanted(method=("l1norm",), verdict=("exact",)))
    assert BASELINE not in [r.entry for r in verdicts]


def test_a_limit_counts_rows_without_their_baselines() -> None:
    shown = leaderboard(some_rows(), REGISTRY, Wanted(method=("l1norm",)), limit=1)
    assert [r.entry for r in shown] == [PRUNED, BASELINE]


@given(
    names=st.lists(
        st.sampled_from([e.id for e in REGISTRY.entries.values() if e.dataset == "cifar10"]),
        unique=True,
        max_size=25,
    ),
    sort=st.sampled_from(sorted(SORTS)),
)
def test_every_row_is_shown_once_whatever_the_order(names: list[str], sort: str) -> None:
    rows = [row(made(name)) for name in names]
    shown = leaderboard(rows, REGISTRY, sort=sort)
    assert sorted(r.entry for r in shown) == sorted(names)
    if sort in ("entry", "dataset"):
        for above, below in pairwise(shown):
            if below.is_baseline:
                assert below.entry in (above.baseline, above.entry)


def test_a_result_of_an_older_protocol_is_marked_and_explained() -> None:
    name = "cifar10-imagenet-norm"
    current = REGISTRY.evaluations[name]
    newer = replace(
        REGISTRY, evaluations={**REGISTRY.evaluations, name: replace(current, version=2)}
    )
    old = row(made(protocol=Protocol(name=name, version=1, sha256="a" * 64)))
    [shown] = leaderboard([old], newer)
    assert shown.outdated
    assert "[1] measured by cifar10-imagenet-norm v1; now v2" in render_leaderboard(
        [shown], "markdown"
    )
    assert '<tr class="outdated" style="color:gray">' in render_leaderboard([shown], "html")
    latex = render_leaderboard([shown], "latex")
    assert latex.startswith(r"% \usepackage{booktabs,xcolor}")
    assert latex.count(r"\textcolor{gray}{") == len(shown_columns([shown]))
    [same] = leaderboard([old], REGISTRY)
    assert (same.outdated, same.note) == (False, "")
