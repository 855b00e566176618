"""Accuracy against cost: the front, the marks, where labels go, and the files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from harness import registry
from harness.errors import MetricError, ProtocolError
from harness.reports.plots.axes import AXES
from harness.reports.plots.label_places import Box, place
from harness.reports.plots.limits import robust_limits
from harness.reports.plots.pareto import front
from harness.reports.plots.points import Point, best, curves, plot_points
from harness.reports.plots.styles import ON_DARK, ON_WHITE
from harness.reports.plots.tradeoff import LABELS, Picture, draw_tradeoff
from harness.reports.table.published_rows import with_unmeasured
from harness.reports.table.rows import row
from harness.results import Result, partial_because
from tests.results.test_timings import record, timing
from tests.support.results import a_cost, changes, made, trained

# Small integers, so that equal costs and equal scores are common.
some_points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14)


def beaten(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return other[0] <= one[0] and other[1] >= one[1] and other != one


@given(some_points)
def test_front_is_what_nothing_beats(found: list[tuple[int, int]]) -> None:
    expected = {i for i, p in enumerate(found) if not any(beaten(p, other) for other in found)}
    kept = front(found)
    assert set(kept) == expected
    assert len(kept) == len(expected)
    assert [found[i][0] for i in kept] == sorted(found[i][0] for i in kept)


def points(*results: Result, axis: str = "macs", **wanted: Any) -> list[Point]:
    return plot_points([row(result) for result in results], AXES[axis], **wanted)


def test_published_and_measured_numbers_are_different_marks() -> None:
    [published, evaluated] = points(made(published="91.73", measured=91.5), published=True)
    assert (published.kind, published.top1_pct) == ("published", 91.73)
    assert (evaluated.kind, evaluated.top1_pct) == ("evaluated", 91.5)
    assert published.cost == evaluated.cost == 110_632
    [retrained] = points(trained())
    assert (retrained.kind, retrained.std_pp, retrained.own) == ("retrained", 1.0, True)
    assert [p.kind for p in points(made(published="91.73"))] == ["evaluated"]


def test_what_nobody_measured_stands_at_its_printed_sparsity() -> None:
    known = registry.load()
    known = replace(known, entries={"acdc-resnet50-90": known.get("acdc-resnet50-90")})
    rows = with_unmeasured([], known)
    [mark] = plot_points(rows, AXES["sparsity"], published=True)
    assert (mark.kind, mark.cost, mark.top1_pct, mark.leads) == ("published", 90.0, 75.03, False)
    assert plot_points(rows, AXES["macs"], published=True) == []


def test_costs_follow_the_zeros() -> None:
    sparse = made(cost=a_cost(nnz=60, macs_effective=44_000))
    outside = 620 - 592  # biases and norms
    bits = 592 // 8
    expected = {"macs": 44_000, "params": outside + 60, "size": 4 * (outside + 60) + bits}
    assert {axis: points(sparse, axis=axis)[0].cost for axis in expected} == expected
    assert points(sparse, axis="sparsity")[0].cost == pytest.approx(100 * (1 - 60 / 592))
    dense = made(cost=a_cost(nnz=592))
    assert points(dense, axis="size")[0].cost == 4 * 620  # a bit per weight would cost more


def test_latency_is_the_fastest_backend_of_the_pruned_network() -> None:
    kept = record(timings=(timing("dense", "eager", 5.0), timing("pruned", "sparse", 9.0)))
    [mark] = points(made("a"), made("b"), axis="latency", latencies={"a": kept})
    assert (mark.entry, mark.cost) == ("a", 9.0)


SHORT = changes(("length", "4ep", "160ep"))


def test_short_schedules_and_subsets_are_no_full_numbers() -> None:
    assert partial_because(made()) == ""
    assert partial_because(made(smoke="1,000 of 50,000 images")) == "1,000 of 50,000 images"
    assert partial_because(trained(overrides=SHORT)) == "length 4ep instead of the recipe's 160ep"
    fewer = changes(("settings.batches_per_epoch", 100, None))
    why = partial_because(trained(overrides=fewer))
    assert why == "settings.batches_per_epoch 100 instead of all"
    assert partial_because(trained(overrides=changes(("length", "160ep", "160ep")))) == ""
    assert partial_because(trained(overrides=changes(("prune.finetune", "1ep", "40ep")))) != ""


def test_short_schedules_are_drawn_on_request_and_lead_never() -> None:
    found = (made("a", measured=80.0), trained(entry="b", overrides=SHORT))
    assert [p.entry for p in points(*found)] == ["a"]
    every = points(*found, partial=True)
    assert [(p.entry, p.leads) for p in every] == [("a", True), ("b", False)]
    assert [p.entry for p in best(every, AXES["macs"])] == ["a"]


def test_a_number_of_an_old_protocol_is_off_the_front() -> None:
    old = replace(row(made("old", measured=99.0)), outdated=True)
    found = plot_points([old, row(made("new", measured=80.0))], AXES["macs"])
    assert [p.entry for p in best(found, AXES["macs"])] == ["new"]


def mark(entry: str, cost: float, top1: float, kind: str = "evaluated", why: str = "") -> Point:
    leads = kind != "published" and not why
    return Point(entry, "gmp", "net", kind, cost, top1, None, why, False, leads)  # type: ignore[arg-type]


def test_the_front_ignores_claims_and_short_schedules() -> None:
    full = [mark("a", 1, 80), mark("b", 2, 90), mark("c", 3, 85)]
    better = [mark("d", 0.5, 99, "published"), mark("e", 0.5, 99, "retrained", "length 1ep")]
    assert [p.entry for p in best([*full, *better], AXES["macs"])] == ["a", "b"]


def test_more_zeros_are_cheaper_on_the_front() -> None:
    found = [mark("a", 50, 80), mark("b", 90, 80), mark("c", 98, 70), mark("d", 0, 79)]
    assert [p.entry for p in best(found, AXES["sparsity"])] == ["c", "b"]


def test_three_levels_of_one_family_make_a_line() -> None:
    levels = [mark(f"gmp-net-{n}-keras", n, 90 - n / 10) for n in (90, 50, 70)]
    others = [mark("gmp-net-60-other", 60, 80), mark("gmp-net-30-keras", 30, 80, "published")]
    [line] = curves([*levels, *others])
    assert [p.cost for p in line] == [50, 70, 90]
    assert curves(levels[:2]) == [] and len(curves(levels[:2], 2)) == 1


def test_labels_of_a_crowd_do_not_touch() -> None:
    anchors = [(200.0 + 3 * i, 200.0 + 2 * (i % 3)) for i in range(12)]
    marks = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in anchors]
    area = Box(0, 0, 400, 400)
    boxes = place(anchors, [(18.0, 9.0)] * 12, marks, area)
    every = [*boxes, *marks]
    assert all(a.shared(b) == 0 for i, a in enumerate(boxes) for b in every[i + 1 :])
    assert all(box.outside(area) == 0 for box in boxes)


def crowd(count: int) -> list[Point]:
    kinds = ("evaluated", "retrained")
    return [
        mark(
            f"gmp-resnet20-{i}", 1e6 + i * 1e5, 80.0 + (i * 5) % 9, kinds[i % 2], "short" * (i % 2)
        )
        for i in range(count)
    ]


def drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: list[Point], axis: str = "macs"
) -> Figure:
    """The figure that `found` becomes, everything labelled."""
    figures: list[Figure] = []
    monkeypatch.setattr(plt, "close", figures.append)
    draw_tradeoff(found, AXES[axis], Picture("title", labels="all"), tmp_path / "p.svg")
    return figures[0]


MAGIC = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml", ".json": b"{"}


@pytest.mark.parametrize(("count", "suffix"), [(14, suffix) for suffix in MAGIC] + [(5, ".svg")])
def test_files_are_pictures_the_same_every_time_and_name_every_row(
    tmp_path: Path, count: int, suffix: str
) -> None:
    found, picture = crowd(count), Picture("title", "note", labels="all")
    one, two = (
        draw_tradeoff(found, AXES["macs"], picture, tmp_path / folder / f"p{suffix}").read_bytes()
        for folder in ("one", "two")
    )
    assert one == two and one.startswith(MAGIC[suffix])
    if suffix == ".json":
        assert all(p.entry in one.decode() for p in found)
    if suffix != ".svg":
        return
    root = ElementTree.fromstring(one.decode())
    texts = " ".join("".join(node.itertext()) for node in root.iter())
    assert all(p.entry in texts.replace("-\n", "-") for p in found)
    assert "short schedule or subset" in texts and "Pareto front" in texts
    assert "MACs of one image, millions" in texts


def test_the_specification_is_one_that_vega_lite_draws(tmp_path: Path) -> None:
    import vl_convert

    found = [*crowd(5), replace(mark("own", 3e6, 85.0), std_pp=0.5, own=True)]
    file = draw_tradeoff(found, AXES["macs"], Picture("title"), tmp_path / "p.json")
    picture = vl_convert.vegalite_to_svg(file.read_text())
    assert "MACs of one image, millions" in picture and "gmp" in picture


def test_labels_do_not_collide_and_the_key_takes_a_quarter_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [replace(p, entry=f"{p.entry}-of-a-rather-long-name-in-all") for p in crowd(14)]
    figure = drawn(monkeypatch, tmp_path, found)
    boxes = [Box(*t.get_window_extent().extents) for t in figure.texts if t.get_text()]
    assert len(boxes) > 2 * 14  # a number in the picture and lines in the key for each
    assert all(a.shared(b) == 0 for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    width = figure.bbox.width
    key = [box for box in boxes if box.left >= 0.75 * width]
    assert len(key) > 14 and max(box.right for box in key) <= width


def test_own_rows_lie_in_front_and_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = points(trained(entry="mine"), made("theirs"))
    assert [p.entry for p in own] == ["theirs", "mine"]  # drawn last
    figures: list[Figure] = []
    monkeypatch.setattr(plt, "close", figures.append)
    for labels in LABELS:
        draw_tradeoff(own, AXES["macs"], Picture("", labels=labels), tmp_path / "p.svg")
    named = [[t.get_text() for t in figure.texts] for figure in figures]
    assert named == [[], ["mine"], ["theirs", "mine"]]


def test_what_cannot_be_drawn_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"pictures are \.png, \.svg, \.pdf or \.json"):
        draw_tradeoff(crowd(2), AXES["macs"], Picture("t"), tmp_path / "p.gif")
    with pytest.raises(MetricError, match="Time the entries first: bench latency ID"):
        draw_tradeoff([], AXES["latency"], Picture("t"), tmp_path / "p.png")


def test_an_axis_over_decades_is_logarithmic_and_its_unit_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = drawn(monkeypatch, tmp_path, [mark("a", 1e3, 80), mark("b", 2e3, 90)], "params")
    far = drawn(monkeypatch, tmp_path, [mark("a", 1e6, 80), mark("b", 1e8, 90)], "params")
    assert [f.axes[0].get_xscale() for f in (near, far)] == ["linear", "log"]
    words = [f.axes[0].get_xlabel().rpartition(", ")[2] for f in (near, far)]
    assert words == ["thousands", "millions"]


def test_no_axis_goes_beyond_what_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [mark("a", 0.0, 99.9), mark("b", 100.0, 0.1), mark("c", 90.0, 99.0)]
    axes = drawn(monkeypatch, tmp_path, found, "sparsity").axes[0]
    assert (*axes.get_xlim(), *axes.get_ylim()) == (0.0, 100.0, 0.0, 100.0)


def test_one_outlier_does_not_squash_an_axis_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [mark(f"a-{i}", i + 1, 90 + i / 10) for i in range(12)] + [mark("odd", 5, 10.0)]
    axes = drawn(monkeypatch, tmp_path, found).axes[0]
    assert axes.get_ylim()[0] > 85
    assert [t.get_text() for t in axes.texts] == ["5, 10.00 %, off the axes"]


values = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=40)


@given(values, st.booleans())
def test_limits_hold_the_crowd_and_most_of_the_values(found: list[float], log: bool) -> None:
    low, high = robust_limits(found, 0.0 if not log else None, None, log)
    assert low < high
    inside = sum(low <= value <= high for value in found)
    assert inside >= len(found) / 2
    assert len(found) >= 8 or inside == len(found)


@pytest.mark.parametrize("colours", [ON_WHITE, ON_DARK])
def test_colours_differ_for_colour_blind_eyes(colours: tuple[str, ...]) -> None:
    """Machado, Oliveira and Fernandes (2009), severity 1: red-blind and green-blind."""
    red = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216]]
    green = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413]]
    blind = [np.array([*red, [-0.003882, -0.048116, 1.051998]])]
    blind += [np.array([*green, [-0.011820, 0.042940, 0.968881]])]
    linear = [np.array([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]) ** 2.2 for c in colours]
    for matrix in (np.eye(3), *blind):
        seen = [np.clip(matrix @ colour, 0, 1) ** (1 / 2.2) for colour in linear]
        pairs = [(a, b) for i, a in enumerate(seen) for b in seen[i + 1 :]]
        assert min(float(np.linalg.norm(a - b)) for a, b in pairs) > 0.19
