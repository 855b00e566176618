"""Picture of how rules share one pruning target. Matplotlib is imported when it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.reports.plots.drawing import drawn_into

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from harness.training import AllocationComparison

# Distinct in hue and in lightness; the first column, the one asked about, stands out.
COLOURS = ("#c0392b", "#1f4e79", "#3f8f5b", "#d59b2d", "#7a5195", "#5b6470", "#2aa1b3")
GREY = "#9aa3ad"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def allocation_plot(comparison: AllocationComparison, target: Path) -> Path:
    """Draw the share of weights removed per layer and rule into `target` (PNG); the path.

    Layers stand in network order. The grey line is the target; bars below show layer sizes.
    """
    with drawn_into(target, dpi=110) as plt:
        _, (rates, sizes) = plt.subplots(
            2,
            1,
            figsize=(max(7.0, 0.3 * len(comparison.layers)), 5.2),
            height_ratios=(4, 1),
            sharex=True,
            layout="constrained",
        )
        _draw_rates(rates, comparison)
        _draw_sizes(sizes, comparison)
        for axes in (rates, sizes):
            axes.spines[["top", "right"]].set_visible(False)
    return target


def _draw_rates(axes: Axes, comparison: AllocationComparison) -> None:
    target_pct = 100 * comparison.target
    axes.axhline(target_pct, color=GREY, linewidth=1, linestyle="--", zorder=0)
    for number, column in enumerate(comparison.columns):
        if column.kept is None:
            continue
        axes.plot(
            comparison.rates_pct(column.kept),
            label=f"{column.label} ({comparison.sparsity_pct(column.kept):.2f} %)",
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=2.0 if number == 0 else 1.0,
            zorder=3 if number == 0 else 2,
        )
    axes.set_ylim(-3, 103)
    axes.set_ylabel("weights removed, %")
    title = f"{comparison.network}: weights removed per layer at {target_pct:.4g} %"
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.07), frameon=False)


def _draw_sizes(axes: Axes, comparison: AllocationComparison) -> None:
    places = range(len(comparison.layers))
    axes.bar(places, comparison.sizes, color=GREY, width=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("weights")
    axes.set_xticks(places, comparison.layers, rotation=90, fontsize=7)
