"""Picture of how rules share one pruning target. Matplotlib is imported when it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.training import AllocationComparison

# Distinct in hue and in lightness; the first column, the one asked about, stands out.
COLOURS = ("#c0392b", "#1f4e79", "#3f8f5b", "#d59b2d", "#7a5195", "#5b6470", "#2aa1b3")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def allocation_plot(comparison: AllocationComparison, target: Path) -> Path:
    """Draw the share of weights removed per layer and rule into `target` (PNG); the path.

    Layers stand in network order. The grey line is the target; bars below show layer sizes.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    places = range(len(comparison.layers))
    figure, (rates, sizes) = plt.subplots(
        2,
        1,
        figsize=(max(7.0, 0.3 * len(places)), 5.2),
        height_ratios=(4, 1),
        sharex=True,
        layout="constrained",
    )
    rates.axhline(100 * comparison.target, color="#9aa3ad", linewidth=1, linestyle="--", zorder=0)
    for number, column in enumerate(comparison.columns):
        if column.kept is None:
            continue
        label = f"{column.label} ({comparison.sparsity_pct(column.kept):.2f} %)"
        rates.plot(
            places,
            comparison.rates_pct(column.kept),
            label=label,
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            markersize=4,
            linewidth=2.0 if number == 0 else 1.0,
            zorder=3 if number == 0 else 2,
        )
    rates.set_ylim(-3, 103)
    rates.set_ylabel("weights removed, %")
    rates.set_title(
        f"{comparison.network}: weights removed per layer at {100 * comparison.target:.4g} %",
        fontsize=10,
    )
    rates.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.07), frameon=False)
    sizes.bar(places, comparison.sizes, color="#9aa3ad", width=0.8)
    sizes.set_yscale("log")
    sizes.set_ylabel("weights")
    sizes.set_xticks(places, comparison.layers, rotation=90, fontsize=7)
    for axes in (rates, sizes):
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    target.parent.mkdir(parents=True, exist_ok=True)
    # No date or version inside, so that the same comparison gives the same file.
    figure.savefig(target, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return target
