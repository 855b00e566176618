"""What is left of a network under a filter state, in the figures that are reported."""

from __future__ import annotations

from torch import Tensor, nn

from methods.ipruning.filter_layout import FilterLayout, counted_by_edropout, kept_ratio
from methods.ipruning.residual_channels import structural_counts


def figures_of(
    model: nn.Module, layout: FilterLayout, state: Tensor, image_size: tuple[int, int]
) -> dict[str, float]:
    """Metric name -> value of one state (D,) of `model`, which may be masked or not.

    kept_pct: R, by the counting rule of the layout (spec 2.2). params_millions: R of all
    parameters, as published next to it. structural_params, structural_macs: what the network with
    its dead channels removed has (spec 2.3), next to dense_params and dense_macs; only for layout
    "ip" on torchvision-keyed ResNets, where removing them is exact.
    """
    if layout.rule == "ip":
        ratio = float(kept_ratio(layout, state))
    else:
        ratio = counted_by_edropout(layout, state)["ratio"]
    found = {
        "kept_pct": 100.0 * ratio,
        "params_millions": ratio * layout.total_parameters / 1e6,
    }
    if layout.rule != "ip":
        return found
    try:
        counts = structural_counts(model, layout, state, image_size)
    except ValueError:  # no such ResNet: it can be masked, but not cut
        return found
    for kind in ("dense", "structural"):
        found[f"{kind}_params"] = float(counts[kind]["params"])
        found[f"{kind}_macs"] = float(counts[kind]["macs"])
    return found
