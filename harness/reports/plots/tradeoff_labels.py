"""Names of the marks in the picture of a trade-off: beside them, or as numbers with a key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.reports.plots.label_places import Box, place
from harness.reports.plots.points import Point
from harness.reports.plots.styles import Style
from harness.reports.table.cells import folded

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Placed = Sequence[tuple[Point, tuple[float, float]]]  # and its place in the axes' data
MARK_PX = 8  # half the width that labels keep free around a mark
KEY_FONT = 6.5
KEY_GAP = 0.01  # of the width, between picture and key
LETTER = 0.62  # of the font size: what a letter takes at most on average


def at_edge(axes: Axes, place: tuple[float, float]) -> tuple[float, float]:
    """`place`, or the nearest one that the axes show."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return min(max(place[0], left), right), min(max(place[1], low), high)


def label(
    figure: Figure,
    axes: Axes,
    found: Placed,
    names: Mapping[str, str],
    looks: Mapping[str, Style],
) -> None:
    """One label per entry of `names`, at what was measured here if anything was."""
    by_rank = sorted(found, key=lambda placed: placed[0].kind != "published")
    chosen = {point.entry: (point, at) for point, at in by_rank}
    marked = [chosen[entry] for entry in names]
    texts = [
        figure.text(
            0,
            0,
            names[point.entry],
            fontsize=7.5,
            fontweight="bold" if point.own else "normal",
            color=looks[point.method].colour,
            zorder=6,
        )
        for point, _ in marked
    ]
    boxes = [text.get_window_extent() for text in texts]
    pixels = axes.transData.transform
    area = Box(*axes.get_window_extent().extents)
    anchors = [tuple(pixels(at_edge(axes, at))) for _, at in marked]
    marks = [tuple(pixels(at_edge(axes, at))) for _, at in found]
    taken = [Box(x - MARK_PX, y - MARK_PX, x + MARK_PX, y + MARK_PX) for x, y in marks]
    places = place(anchors, [(b.width + 2, b.height) for b in boxes], taken, area)
    back = figure.transFigure.inverted().transform
    for text, box, (x, y) in zip(texts, places, anchors, strict=True):
        text.set_position(tuple(back((box.left + 1, box.bottom))))
        nearest = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
        if max(abs(nearest[0] - x), abs(nearest[1] - y)) > 2 * MARK_PX:
            ends = [axes.transData.inverted().transform(end) for end in ((x, y), nearest)]
            axes.plot(*zip(*ends, strict=True), color="#999999", linewidth=0.5, zorder=1)


def key_of_numbers(
    figure: Figure,
    found: Sequence[Point],
    names: Mapping[str, str],
    looks: Mapping[str, Style],
    share: float,
) -> None:
    """Number, entry and accuracy of every row, in the right `share` of the figure's width."""
    measured = {p.entry: p for p in sorted(found, key=lambda p: p.kind != "published")}
    inches = figure.get_figwidth() * (share - 2 * KEY_GAP)
    letters = int(72 * inches / (KEY_FONT * LETTER))
    lines = []
    for entry, number in names.items():
        point = measured[entry]
        star = "*" if point.partial else ""
        text = folded(f"{number}  {entry}  {point.top1_pct:.2f}{star}", letters)
        lines += [(line, point) for line in text.split("\n")]
    step = min(0.034, 0.94 / len(lines))
    for i, (line, point) in enumerate(lines):
        figure.text(
            1 - share + KEY_GAP,
            0.97 - i * step,
            line,
            fontsize=KEY_FONT,
            fontweight="bold" if point.own else "normal",
            color=looks[point.method].colour,
            va="top",
        )
