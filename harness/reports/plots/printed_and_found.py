"""Picture of the published files that do not hold what was printed about them.

One line per file, two axes: zeros and accuracy, printed (hollow) and found (filled). Matplotlib is
imported when one is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import MetricError
from harness.reports.plots.drawing import drawn_into, require_picture_format
from harness.results import FigureStatus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {"sparsity_pct": "sparsity, %", "top1_pct": "top-1 accuracy, %"}
PRINTED, HOLDS, FAILS = "#5b6470", "#0072b2", "#c44e00"  # apart for colour-blind eyes, and in grey


@dataclass(frozen=True, slots=True)
class PrintedAndFound:
    """One figure of one published file, in percent."""

    entry: str
    figure: str  # a key of PANELS
    printed: float
    found: float
    holds: bool


def files_in_dispute(figures: Sequence[FigureStatus]) -> list[PrintedAndFound]:
    """Sparsity and top-1 of every published file of which either one is contradicted.

    figures: as `count_claims(...).figures()` gives them. Ordered by how far the worst figure is
    off, most first. Only what the file itself gave counts, not what was trained again.
    """
    judged = [
        PrintedAndFound(
            figure.entry,
            figure.figure,
            float(figure.published.text),
            figure.comparison.measured,
            figure.outcome == "reproduced",
        )
        for figure in figures
        if figure.figure in PANELS
        and figure.basis in ("evaluated", "counted")
        and figure.comparison is not None
        and figure.comparison.measured is not None
    ]
    off: dict[str, float] = {}
    for one in judged:
        if not one.holds:
            off[one.entry] = max(off.get(one.entry, 0.0), abs(one.printed - one.found))
    disputed = [one for one in judged if one.entry in off]
    return sorted(disputed, key=lambda one: (-off[one.entry], one.entry))


def draw_printed_and_found(lines: Sequence[PrintedAndFound], target: Path) -> Path:
    """Draw `lines` into `target` (.png or .svg, the same bytes every time); the path.

    Raises MetricError when nothing is in dispute, ProtocolError for another format.
    """
    require_picture_format(target)
    if not lines:
        raise MetricError(
            "no published file that was measured is contradicted. Measure some: bench reproduce ID"
        )
    entries = list(dict.fromkeys(line.entry for line in lines))
    with drawn_into(target, dpi=150, font_size=9) as plt:
        _, panels = plt.subplots(
            1, 2, figsize=(9.6, 0.3 * len(entries) + 1.3), sharey=True, layout="constrained"
        )
        for axes, (key, label) in zip(panels, PANELS.items(), strict=True):
            _panel(axes, [line for line in lines if line.figure == key], entries, label)
        panels[0].set_yticks(range(len(entries)), entries)
        panels[0].set_ylim(len(entries) - 0.5, -0.5)
        _legend(panels[0])
    return target


def _panel(axes: Axes, lines: list[PrintedAndFound], entries: list[str], label: str) -> None:
    for line in lines:
        place = entries.index(line.entry)
        colour = HOLDS if line.holds else FAILS
        axes.plot((line.printed, line.found), (place, place), color=colour, linewidth=1.5)
        axes.plot(line.printed, place, "D", color=PRINTED, markerfacecolor="white", markersize=7)
        axes.plot(line.found, place, "o", color=colour, markersize=5)
        if not line.holds:
            _name(axes, line, place)
    axes.set_xlim(-4, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(label)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _name(axes: Axes, line: PrintedAndFound, place: int) -> None:
    """What was found, beyond its mark as seen from the printed one; above it at the axis' end."""
    at_the_end = line.found < 12
    leftwards = line.found < line.printed and not at_the_end
    axes.annotate(
        f"{line.found:.2f}",
        (line.found, place),
        xytext=(-6 if leftwards else 6, 5 if at_the_end else 0),
        textcoords="offset points",
        ha="right" if leftwards else "left",
        va="center",
        fontsize=8,
        color=FAILS,
    )


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="D", color=PRINTED, markerfacecolor="white", linestyle="none"),
        Line2D([], [], marker="o", color=HOLDS, linestyle="none"),
        Line2D([], [], marker="o", color=FAILS, linestyle="none"),
    ]
    words = ["printed", "found in the file, as printed", "found in the file, not as printed"]
    axes.figure.legend(marks, words, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
