"""Accuracy against cost: the front, the marks, where labels go, and the files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from harness.errors import MetricError, ProtocolError
from harness.reports.plots.label_places import Box, place
from harness.reports.plots.pareto import front
from harness.reports.plots.points import Point, best, doubt, plot_points
from harness.reports.plots.tradeoff import draw_tradeoff
from tests.results.test_timings import record, timing
from tests.support.results import a_cost, changes, made, trained

PNG = b"\x89PNG\r\n\x1a\n"
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


def test_published_and_measured_numbers_are_different_marks() -> None:
    [published, evaluated] = plot_points([made(published="91.73", measured=91.5)], "macs")
    assert (published.kind, published.top1_pct) == ("published", 91.73)
    assert (evaluated.kind, evaluated.top1_pct) == ("evaluated", 91.5)
    assert published.cost == evaluated.cost == 0.110632
    [retrained] = plot_points([trained()], "macs")
    assert (retrained.kind, retrained.std_pp) == ("retrained", 1.0)


def test_non_zero_parameters_count_norms_and_biases() -> None:
    [mark] = plot_points([made(published=None)], "params")
    assert mark.cost == (620 - 592 + 148) / 1e6


def test_latency_is_the_fastest_backend_of_the_pruned_network() -> None:
    kept = record(timings=(timing("dense", "eager", 5.0), timing("pruned", "sparse", 9.0)))
    [mark] = plot_points(
        [made("a", published=None), made("b", published=None)], "latency", {"a": kept}
    )
    assert (mark.entry, mark.cost) == ("a", 9.0)


def test_short_schedules_and_subsets_are_no_full_numbers() -> None:
    assert doubt(made()) == ""
    assert doubt(made(smoke="1,000 of 50,000 images")) == "1,000 of 50,000 images"
    short = trained(overrides=changes(("length", "4ep", "160ep")))
    assert doubt(short) == "length 4ep instead of 160ep"
    assert doubt(trained(overrides=changes(("length", "160ep", "160ep")))) == ""
    assert doubt(trained(overrides=changes(("prune.finetune", "1ep", "40ep")))) != ""


def mark(entry: str, cost: float, top1: float, kind: str = "evaluated", why: str = "") -> Point:
    return Point(entry, "gmp", kind, cost, top1, None, why)  # type: ignore[arg-type]


def test_the_front_ignores_claims_and_short_schedules() -> None:
    full = [mark("a", 1, 80), mark("b", 2, 90), mark("c", 3, 85)]
    better = [mark("d", 0.5, 99, "published"), mark("e", 0.5, 99, "retrained", "length 1ep")]
    assert [p.entry for p in best([*full, *better])] == ["a", "b"]


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
        mark(f"gmp-resnet20-{i}", 1.0 + i / 7, 80.0 + (i * 5) % 9, kinds[i % 2], "short" * (i % 2))
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [5, 26])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_files_are_pictures_the_same_every_time_and_name_every_row(
    tmp_path: Path, count: int, suffix: str
) -> None:
    found = crowd(count)
    one, two = (
        draw_tradeoff(found, "macs", "title", "note", tmp_path / folder / f"p{suffix}").read_bytes()
        for folder in ("one", "two")
    )
    assert one == two
    if suffix == ".png":
        assert one.startswith(PNG)
        return
    root = ElementTree.fromstring(one.decode())
    assert root.tag.endswith("svg")
    texts = " ".join("".join(node.itertext()) for node in root.iter())
    assert all(p.entry in texts for p in found)
    assert "short schedule or subset" in texts and "Pareto front" in texts


def test_labels_in_a_drawn_picture_do_not_collide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(plt, "close", drawn.append)
    draw_tradeoff(crowd(26), "macs", "title", "", tmp_path / "p.png")
    [figure] = drawn
    boxes = [Box(*t.get_window_extent().extents) for t in figure.texts if t.get_text()]
    assert len(boxes) == 2 * 26  # a number in the picture and a line in the key for each
    assert all(a.shared(b) == 0 for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_what_cannot_be_drawn_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"pictures are \.png or \.svg"):
        draw_tradeoff(crowd(2), "macs", "t", "", tmp_path / "p.pdf")
    with pytest.raises(MetricError, match="Time the entries first: bench latency ID"):
        draw_tradeoff([], "latency", "t", "", tmp_path / "p.png")


def test_an_axis_over_decades_is_logarithmic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(plt, "close", drawn.append)
    near, far = [mark("a", 1, 80), mark("b", 2, 90)], [mark("a", 1, 80), mark("b", 100, 90)]
    for found in (near, far):
        draw_tradeoff(found, "params", "t", "", tmp_path / "p.svg")
    assert [figure.axes[0].get_xscale() for figure in drawn] == ["linear", "log"]


def test_costs_of_a_result_follow_its_zeros() -> None:
    sparse = made(published=None, cost=a_cost(nnz=60, macs_effective=44_000))
    assert plot_points([sparse], "macs")[0].cost == 0.044
    assert plot_points([sparse], "params")[0].cost == (620 - 592 + 60) / 1e6
