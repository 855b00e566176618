"""The picture of a trade-off. Matplotlib is imported when one is drawn.

A method is a colour and a shape, a kind of number a filling; numbers of one's own lie in front of
all others. A few entries are labelled in place, many by a number and a key beside the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.errors import MetricError
from harness.reports.plots.axes import TOP1_RANGE, Axis, logarithmic
from harness.reports.plots.drawing import FORMATS, drawn_into, require_picture_format
from harness.reports.plots.limits import robust_limits
from harness.reports.plots.points import LEVELS, Kind, Point, best, curves
from harness.reports.plots.styles import Style, styles
from harness.reports.plots.tradeoff_labels import at_edge, key_of_numbers, label
from harness.reports.plots.vega_lite import write_vega_lite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Labels = Literal["none", "own", "all"]
LABELS: tuple[Labels, ...] = ("none", "own", "all")
VEGA_LITE = ".json"
INK = "#222222"
FRONT = "#444444"
NAMED_IN_PLACE = 10  # entries; more get numbers
KEY_SHARE = 0.25  # of the width, at most
DPI = 150
SAID: dict[Kind, str] = {
    "published": "only printed",
    "evaluated": "published weights, evaluated here",
    "retrained": "trained here",
}
PARTIAL = "short schedule or subset*"
JOINED_LEVELS = 1  # of a sweep, whose lines are what was asked for


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn around the marks.

    note: one line under the picture. labels: which entries are named. joined: lines through what
    has two levels, and no Pareto front: of a sweep.
    """

    title: str
    note: str = ""
    labels: Labels = "own"
    joined: bool = False

    @property
    def levels(self) -> int:
        """From how many levels on marks are joined."""
        return JOINED_LEVELS if self.joined else LEVELS


def draw_tradeoff(found: Sequence[Point], axis: Axis, picture: Picture, target: Path) -> Path:
    """Draw `found` into `target`, the same bytes every time; the path.

    .png, .svg and .pdf are pictures, .json is a Vega-Lite specification with the numbers in it.
    Raises MetricError without points, ProtocolError for another format.
    """
    require_picture_format(target, (*FORMATS, VEGA_LITE))
    if not found:
        msg = f"no stored result has a mark on the {axis.key} axis"
        raise MetricError(f"{msg}. {axis.missing}")
    if target.suffix.lower() == VEGA_LITE:
        front = [] if picture.joined else best(found, axis)
        lines = curves(found, picture.levels)
        return write_vega_lite(found, lines, front, axis, picture.title, target)
    with drawn_into(target, DPI, font_size=9):
        _figure(found, axis, picture)
    return target


def _figure(found: Sequence[Point], axis: Axis, picture: Picture) -> None:
    from matplotlib import pyplot as plt

    named = _named(found, picture.labels)
    numbered = len(named) > NAMED_IN_PLACE
    height = max(4.8, 0.17 * len(named) + 1.4) if numbered else 4.8
    figure = plt.figure(figsize=(9.6 if numbered else 7.2, height))
    room = (0, 0, 1 - KEY_SHARE if numbered else 1, 1)
    figure.set_layout_engine("constrained", rect=room)
    axes = figure.add_subplot()
    looks = styles(p.method for p in found)
    scale = _frame(axes, found, axis, picture.title)
    front = [] if picture.joined else best(found, axis)
    _front(axes, front, axis, scale)
    for curve in curves(found, picture.levels):
        _curve(axes, curve, looks[curve[0].method], scale)
    for point in found:
        _mark(axes, point, looks[point.method], scale)
    _legend(figure, found, looks, bool(front))
    if picture.note:
        axes.annotate(picture.note, (0, 1), xycoords="axes fraction", fontsize=6.5, va="bottom")
    figure.draw_without_rendering()  # places are known from here on, and stay
    figure.set_layout_engine("none")
    names = {e: str(i) if numbered else e for i, e in enumerate(named, 1)}
    places = [(p, (p.cost / scale, p.top1_pct)) for p in found]
    label(figure, axes, places, names, looks)
    if numbered:
        key_of_numbers(figure, found, names, looks, KEY_SHARE)


def _named(found: Sequence[Point], labels: Labels) -> list[str]:
    """The entries that get a label, in the order of their marks."""
    wanted = [p.entry for p in found if labels == "all" or (labels == "own" and p.own)]
    return list(dict.fromkeys(wanted))


def _mark(axes: Axes, point: Point, look: Style, scale: float) -> None:
    """One number. One that lies beyond the axes stands at their edge and says so."""
    hollow = bool(point.partial) or point.kind == "published"
    place = (point.cost / scale, point.top1_pct)
    inside = at_edge(axes, place)
    axes.errorbar(
        *inside,
        yerr=point.std_pp if inside == place else None,
        marker=look.marker,
        markersize=7.5 if point.own else 6,
        markerfacecolor="white" if hollow else look.colour,
        markeredgecolor=INK if point.kind == "retrained" and not hollow else look.colour,
        markeredgewidth=1.0 if point.kind == "published" else 1.3,
        alpha=0.7 if point.partial else 1.0,
        ecolor=look.colour,
        capsize=2.5,
        linestyle="none",
        zorder=5 if point.own else 3,
        clip_on=False,
    )
    if inside != place:
        axes.annotate(
            f"{place[0]:.4g}, {place[1]:.2f} %, off the axes",
            inside,
            xytext=(6, 6),
            textcoords="offset points",
            fontsize=6.5,
            color=look.colour,
        )


def _front(axes: Axes, marked: Sequence[Point], axis: Axis, scale: float) -> None:
    if not marked:
        return
    marked = sorted(marked, key=lambda p: p.cost)
    places = [p.cost / scale for p in marked]
    scores = [p.top1_pct for p in marked]
    where: Literal["pre", "post"] = "pre" if axis.rising else "post"
    axes.step(places, scores, where=where, color=FRONT, linewidth=1, linestyle="--", zorder=1)
    axes.scatter(
        places, scores, s=130, facecolors="none", edgecolors=FRONT, linewidths=0.8, zorder=2
    )


def _curve(axes: Axes, curve: Sequence[Point], look: Style, scale: float) -> None:
    axes.plot(
        [p.cost / scale for p in curve],
        [p.top1_pct for p in curve],
        color=look.colour,
        linewidth=1.9 if curve[0].own else 1.2,
        linestyle=":" if curve[0].partial else "-",
        zorder=4 if curve[0].own else 2,
        gid=f"curve-{curve[0].method}",
    )


def _frame(axes: Axes, found: Sequence[Point], axis: Axis, title: str) -> float:
    """Axes with their limits and words; what costs are divided by."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    costs = [p.cost for p in found]
    scale, unit = axis.unit(costs)
    log = logarithmic(axis, costs)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    most = None if axis.at_most is None else axis.at_most / scale
    least = None if log else 0.0
    ends = [min(costs) / scale, max(costs) / scale]  # decades have room for what lies far off
    axes.set_xlim(*robust_limits(ends, least, most, log))
    spread = [p.top1_pct + side * (p.std_pp or 0) for p in found for side in (-1, 1)]
    axes.set_ylim(*robust_limits(spread, *TOP1_RANGE))
    axes.set_xlabel(f"{axis.title}, {unit}" if unit else axis.title)
    axes.set_ylabel("top-1 accuracy, %")
    axes.set_title(title, fontsize=11, loc="left", pad=14)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return scale


def _legend(figure: Figure, found: Sequence[Point], looks: dict[str, Style], front: bool) -> None:
    """Methods, then kinds of numbers, below the picture, in as many lines as they need."""
    from matplotlib.lines import Line2D

    def shown(word: str, marker: str, colour: str, face: str, edge: str | None = None) -> Line2D:
        return Line2D(
            [],
            [],
            marker=marker,
            linestyle="none",
            color=colour,
            markerfacecolor=face,
            markeredgecolor=edge or colour,
            label=word,
        )

    handles = [shown(m, look.marker, look.colour, look.colour) for m, look in looks.items()]
    grey = "#8a8a8a"
    for kind, said in SAID.items():
        if any(p.kind == kind and not p.partial for p in found):
            face = "white" if kind == "published" else grey
            edge = INK if kind == "retrained" else grey
            handles.append(shown(said, "o", grey, face, edge))
    if any(p.partial for p in found):
        handles.append(shown(PARTIAL, "o", grey, "white"))
    if front:
        handles.append(Line2D([], [], color=FRONT, linestyle="--", label="Pareto front"))
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), 6, round(110 / (longest + 8))))
    figure.legend(
        handles=handles,
        fontsize=7.5,
        frameon=False,
        ncols=columns,
        loc="outside lower left",
        columnspacing=1.2,
        handletextpad=0.3,
    )
