"""The picture of a trade-off. Matplotlib is imported when one is drawn.

Published, re-evaluated and retrained numbers are different marks; short schedules and subsets are
hollow. A few entries are labelled in place, many by a number and a key beside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import MetricError
from harness.reports.plots.drawing import drawn_into, require_picture_format
from harness.reports.plots.label_places import Box, place
from harness.reports.plots.points import Axis, Kind, Point, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNITS: dict[Axis, str] = {
    "macs": "MACs per image, millions (density applied)",
    "params": "non-zero parameters, millions",
    "sparsity": "zeros among conv and linear weights, %",
    "latency": "milliseconds per image, fastest backend, batch 1",
}
MARKS: dict[Kind, str] = {"published": "D", "evaluated": "o", "retrained": "^"}
# Distinguishable with colour-blindness, and in print.
PALETTE = (
    "#0072b2",
    "#c44e00",
    "#00795a",
    "#b0457f",
    "#2b8cbe",
    "#7a5c00",
    "#6a1b4d",
    "#444444",
    "#5e3c99",
    "#1b7a1b",
    "#a50026",
    "#8b6f5c",
)
DOUBTFUL = "short schedule or subset"
FRONT = "#444444"
INK = "#222222"
LOG_RANGE = 12  # costs that differ by more are drawn on a logarithmic axis
NAMED_IN_PLACE = 10  # entries; more get numbers
MARK_PX = 8  # half the width that labels keep free around a mark
DPI = 150


def draw_tradeoff(
    found: Sequence[Point],
    axis: Axis,
    title: str,
    note: str,
    target: Path,
    *,
    joined: bool = False,
) -> Path:
    """Draw `found` into `target` (.png or .svg, the same bytes every time); the path.

    joined: a line through the marks of each method, instead of the Pareto front.
    note: one line under the picture. Raises MetricError without points, ProtocolError for another
    format.
    """
    require_picture_format(target)
    if not found:
        msg = f"no stored result has a mark on the {axis} axis"
        raise MetricError(f"{msg}. {_HOW_TO_GET[axis]}")
    with drawn_into(target, DPI, font_size=9):
        _figure(found, axis, title, note, joined)
    return target


_HOW_TO_GET = {
    "sparsity": "Measure some: bench reproduce --suite quickstart",
    "macs": "Measure some: bench reproduce --suite quickstart",
    "params": "Measure some: bench reproduce --suite quickstart",
    "latency": "Time the entries first: bench latency ID",
}


def _figure(found: Sequence[Point], axis: Axis, title: str, note: str, joined: bool) -> None:
    from matplotlib import pyplot as plt

    entries = list(dict.fromkeys(p.entry for p in found))
    numbered = len(entries) > NAMED_IN_PLACE
    figure = plt.figure(figsize=(9.6 if numbered else 7.2, max(4.8, 0.17 * len(entries) + 1.1)))
    axes = figure.add_axes((0.075, 0.17, 0.60, 0.74) if numbered else (0.09, 0.17, 0.88, 0.74))
    colours = _colours(found)
    _marks(axes, found, colours)
    if joined:
        _curves(axes, found, colours)
    else:
        _front(axes, best(found))
    _frame(axes, found, axis, title)
    names = {e: str(i) if numbered else e for i, e in enumerate(entries, 1)}
    _label(figure, axes, found, names, colours)
    if numbered:
        _key(figure, found, names, colours)
    _legend(axes, found)
    figure.text(0.01, 0.004, note, fontsize=6.5, color=INK, va="bottom")


def _colours(found: Sequence[Point]) -> dict[str, str]:
    methods = sorted({p.method for p in found})
    return {method: PALETTE[i % len(PALETTE)] for i, method in enumerate(methods)}


def _marks(axes: Axes, found: Sequence[Point], colours: dict[str, str]) -> None:
    for p in found:
        colour = colours[p.method]
        hollow = bool(p.doubt) or p.kind == "published"
        axes.errorbar(
            p.cost,
            p.top1_pct,
            yerr=p.std_pp,
            marker=MARKS[p.kind],
            markersize=8 if p.kind == "published" else 6,
            markerfacecolor="none" if hollow else colour,
            markeredgecolor=colour,
            markeredgewidth=0.9 if p.kind == "published" else 1.3,
            alpha=0.55 if p.doubt else 1.0,
            ecolor=colour,
            capsize=2,
            linestyle="none",
            zorder=3,
        )


def _front(axes: Axes, marked: Sequence[Point]) -> None:
    if not marked:
        return
    costs, scores = [p.cost for p in marked], [p.top1_pct for p in marked]
    axes.step(costs, scores, where="post", color=FRONT, linewidth=1, linestyle="--", zorder=1)
    axes.scatter(
        costs, scores, s=130, facecolors="none", edgecolors=FRONT, linewidths=0.8, zorder=2
    )


def _curves(axes: Axes, found: Sequence[Point], colours: dict[str, str]) -> None:
    """A line per method through what was measured here, from cheap to dear."""
    for method, colour in colours.items():
        own = [p for p in found if p.method == method and p.kind != "published"]
        own.sort(key=lambda p: p.cost)
        costs, scores = [p.cost for p in own], [p.top1_pct for p in own]
        axes.plot(costs, scores, color=colour, linewidth=1.2, zorder=1, gid=f"curve-{method}")


def _frame(axes: Axes, found: Sequence[Point], axis: Axis, title: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    costs = [p.cost for p in found]
    if min(costs) > 0 and max(costs) / min(costs) > LOG_RANGE:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(0.08)
    axes.set_xlabel(UNITS[axis])
    axes.set_ylabel("top-1 accuracy, %")
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(
    figure: Figure,
    axes: Axes,
    found: Sequence[Point],
    names: dict[str, str],
    colours: dict[str, str],
) -> None:
    """One label per entry, at what was measured here if anything was."""
    chosen = {p.entry: p for p in sorted(found, key=lambda p: p.kind != "published")}
    marked = [chosen[entry] for entry in names]
    texts = [
        figure.text(0, 0, names[p.entry], fontsize=7.5, color=colours[p.method], zorder=4)
        for p in marked
    ]
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts]
    at = axes.transData.transform
    anchors = [tuple(at((p.cost, p.top1_pct))) for p in marked]
    marks = [tuple(at((p.cost, p.top1_pct))) for p in found]
    taken = [Box(x - MARK_PX, y - MARK_PX, x + MARK_PX, y + MARK_PX) for x, y in marks]
    taken += _line(axes, best(found))
    area = Box(*axes.get_window_extent().extents)
    places = place(anchors, [(b.width + 2, b.height) for b in boxes], taken, area)
    back = figure.transFigure.inverted().transform
    for text, box, (x, y) in zip(texts, places, anchors, strict=True):
        left, bottom = back((box.left + 1, box.bottom))
        text.set_position((left, bottom))
        nearest = (min(max(x, box.left), box.right), min(max(y, box.bottom), box.top))
        if max(abs(nearest[0] - x), abs(nearest[1] - y)) > 2 * MARK_PX:
            ends = [axes.transData.inverted().transform(end) for end in ((x, y), nearest)]
            axes.plot(*zip(*ends, strict=True), color="#999999", linewidth=0.5, zorder=1)


def _line(axes: Axes, marked: Sequence[Point]) -> list[Box]:
    """Where the front's steps run, as thin boxes in pixels."""
    corners = [tuple(axes.transData.transform((p.cost, p.top1_pct))) for p in marked]
    boxes = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:], strict=False):
        boxes += [Box(x0, y0 - 1, x1, y0 + 1), Box(x1 - 1, y0, x1 + 1, y1)]
    return boxes


def _key(
    figure: Figure, found: Sequence[Point], names: dict[str, str], colours: dict[str, str]
) -> None:
    """Number, entry and accuracy of every row, beside the picture."""
    measured = {p.entry: p for p in sorted(found, key=lambda p: p.kind != "published")}
    step = min(0.034, 0.86 / len(names))
    for i, (entry, number) in enumerate(names.items()):
        p = measured[entry]
        star = "*" if p.doubt else ""
        label = f"{number}  {entry}  {p.top1_pct:.2f}{star}"
        figure.text(0.695, 0.93 - i * step, label, fontsize=6.5, color=colours[p.method], va="top")


def _legend(axes: Axes, found: Sequence[Point]) -> None:
    from matplotlib.lines import Line2D

    def mark(kind: Kind, full: bool, label: str) -> Line2D:
        face = INK if full else "none"
        return Line2D(
            [],
            [],
            marker=MARKS[kind],
            linestyle="none",
            color=INK,
            markerfacecolor=face,
            label=label,
        )

    kinds = [kind for kind in MARKS if any(p.kind == kind and not p.doubt for p in found)]
    handles = [mark(kind, kind != "published", _SAID[kind]) for kind in kinds]
    for kind in MARKS:
        if any(p.kind == kind and p.doubt for p in found):
            handles.append(mark(kind, False, f"{_SAID[kind]}, {DOUBTFUL}*"))
    if best(found):
        handles.append(
            Line2D([], [], color=FRONT, linestyle="--", label="Pareto front (full, ours)")
        )
    axes.legend(
        handles=handles,
        fontsize=7.5,
        frameon=False,
        ncols=len(handles),
        loc="upper left",
        bbox_to_anchor=(-0.1, -0.125),
        columnspacing=1.0,
        handletextpad=0.3,
    )


_SAID: dict[Kind, str] = {
    "published": "published",
    "evaluated": "published weights, evaluated here",
    "retrained": "retrained here",
}
