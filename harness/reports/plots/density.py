"""Pictures from results: layer-wise density. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from pathlib import Path

from harness import paths
from harness.reports.plots.drawing import drawn_into
from harness.results import Result, file_of

DENSE, PRUNED, EMPTY = "#c9ced6", "#2f6f9f", "#b03a2e"


def density_plot(result: Result, target: Path) -> Path:
    """Draw the share of non-zero weights per layer into `target` (PNG); the path.

    Layers stand in network order; a layer without any weight left is marked in red. The line is
    the density over all conv and linear weights.
    """
    layers = result.cost.layers
    densities = [100 * layer.nnz / layer.total for layer in layers]
    with drawn_into(target, dpi=110) as plt:
        width = max(6.0, 0.22 * len(layers))
        _, axes = plt.subplots(figsize=(width, 3.6), layout="constrained")
        places = range(len(layers))
        axes.bar(places, [100] * len(layers), color=DENSE, width=0.8)
        axes.bar(places, densities, color=PRUNED, width=0.8)
        for place, density in zip(places, densities, strict=True):
            if density == 0:
                axes.axvspan(place - 0.4, place + 0.4, color=EMPTY)
        whole = 100 - result.cost.sparsity_pct
        axes.axhline(whole, color="black", linewidth=1, linestyle="--")
        axes.annotate(
            f"all layers {whole:.2f} %", (len(layers) - 0.5, whole), ha="right", va="bottom"
        )
        axes.set_xticks(places, [layer.name for layer in layers], rotation=90, fontsize=7)
        axes.set_ylim(0, 100)
        axes.set_xlim(-0.6, len(layers) - 0.4)
        axes.set_ylabel("non-zero weights, %")
        collapsed = result.cost.collapsed
        note = f"; collapsed: {', '.join(collapsed)}" if collapsed else ""
        axes.set_title(f"{result.entry}: density per layer{note}", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    return target


def density_beside(result: Result) -> Path:
    """The picture of `density_plot` beside the stored result's own file, drawn if it is not there.

    Nothing is drawn on the project's record.
    """
    target = file_of(result.entry, result.result_id).with_suffix(".png")
    drawn = target.is_file() or paths.results_folder() not in target.parents
    return target if drawn else density_plot(result, target)
