"""What follows of a row's printed figures without any weights: arithmetic, and nothing else.

From the architecture: parameters, multiply-accumulates and bytes of a dense network, sizes of
layers. From a stated density per layer (n:m kernels, a uniform share, shares listed by the paper):
the whole network's. From the printed figures alone: parameters against sparsity, top-1 against
top-3 against top-5. A figure that nothing here settles is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import pairwise

from harness.registry import Entry, Published
from harness.results.figure_outcomes import needs_images, outcome_of
from harness.results.judged_metrics import Measured, judge
from harness.results.schema import Cost, LayerCost
from harness.results.tolerances import check_figures, judge_count
from harness.results.verdicts import INCONSISTENT, Comparison, not_judged

_OF_ANY_DENSITY = ("weights_thousands", "flops_thousands")  # of layers, whatever is left of them
_OF_DENSITIES = ("sparsity_pct", "density_pct", "flops_millions", "flops_remaining_pct")
_OF_DENSE = ("params_millions", "flops_millions", "size_kb", "kept_pct")
REMOVED = "params_removed_pct"  # of the baseline, where the network itself got smaller
_TOPS = ("top1_pct", "top3_pct", "top5_pct")


def of_printed(published: Mapping[str, Published]) -> dict[str, Comparison]:
    """Figure -> comparison, for what the printed figures alone decide."""
    return _orders(published)


def of_architecture(
    entry: Entry, settings: Mapping[str, object], dense: Cost
) -> dict[str, Comparison]:
    """Figure -> comparison with what follows from the network; `exact`, `mismatch` and the like.

    settings: the method's, see `Registry.settings_of`. dense: cost of the entry's network with no
    weight removed, in the paper's convention.
    """
    return _of_network(entry, settings, dense) | _parameters(entry.published, dense)


def of_baseline(entry: Entry, cost: Cost, baseline: Cost) -> dict[str, Comparison]:
    """Figure -> comparison with what a network lacks of its baseline, by all their parameters.

    cost, baseline: of the two architectures, with no weight removed.
    """
    published = entry.published.get(REMOVED)
    if published is None or published.suspect:
        return {}
    return {REMOVED: judge_count(published, 100.0 * (1 - cost.params / baseline.params))}


def asks_architecture(entry: Entry) -> bool:
    """Whether the network may settle a printed figure of `entry`, so that it is worth building."""
    names = {*_OF_ANY_DENSITY, *_OF_DENSITIES, *_OF_DENSE}
    wanted = entry.granularity != "dynamic"
    return wanted and any(_metric(name) in names for name in entry.published)


def _of_network(entry: Entry, settings: Mapping[str, object], dense: Cost) -> dict[str, Comparison]:
    names = list(_OF_ANY_DENSITY)
    cost = dense
    if entry.granularity == "dense":
        names += _OF_DENSE
        cost = replace(dense, extra={**dense.extra, "kept_pct": 100.0})
    elif (kept := stated_counts(settings, dense.layers)) is not None:
        cost = pruned(dense, kept, entry.prunable_exclude)
        names += _OF_DENSITIES
    judged = judge(entry, Measured(counts=None, cost=cost, n_total=0))
    return {
        name: comparison
        for name, comparison in judged.items()
        if name in entry.published
        and _metric(name) in names
        and not needs_images(entry, name)
        and outcome_of(comparison.status) is not None
        and not _is_given(name, settings)
    }


def _metric(name: str) -> str:
    return name.partition(".")[0]


def _is_given(name: str, settings: Mapping[str, object]) -> bool:
    """Whether a figure is what the counts were worked out from, so that it would judge itself."""
    return "densities" in settings and name.startswith(("density_pct.", "sparsity_pct."))


def stated_counts(
    settings: Mapping[str, object], layers: tuple[LayerCost, ...]
) -> dict[str, int] | None:
    """Layer -> weights kept, where the settings say so for every layer; else None."""
    densities = settings.get("densities")
    if isinstance(densities, Mapping):
        if set(densities) != {layer.name for layer in layers}:
            return None
        return {layer.name: round(float(densities[layer.name]) * layer.total) for layer in layers}
    share = _uniform_density(settings)
    if share is None:
        return None
    exclude = settings.get("exclude", ())
    patterns = tuple(map(str, exclude)) if isinstance(exclude, list | tuple) else ()
    whole = {x.name for x in layers if any(fnmatchcase(x.name, p) for p in patterns)}
    return {x.name: x.total if x.name in whole else round(share * x.total) for x in layers}


def _uniform_density(settings: Mapping[str, object]) -> float | None:
    allocation, sparsity = settings.get("allocation"), settings.get("sparsity")
    kernels = re.fullmatch(r"([0-9]{1,4}):([1-9][0-9]{0,3})", str(allocation))
    if kernels:
        return int(kernels[1]) / int(kernels[2])
    if allocation == "uniform" and isinstance(sparsity, int | float):
        return 1.0 - sparsity
    return None


def pruned(dense: Cost, kept: Mapping[str, int], exclude: tuple[str, ...]) -> Cost:
    """`dense` with `kept` weights left in each layer; MACs are scaled by density, in integers.

    Figures in a paper's convention other than plain MACs are dropped: they depend on more.
    """
    layers = tuple(
        replace(x, nnz=kept[x.name], macs_effective=x.macs_dense * kept[x.name] // x.total)
        for x in dense.layers
    )
    inside = [x for x in layers if not any(fnmatchcase(x.name, p) for p in exclude)]
    effective = sum(x.macs_effective for x in layers)
    plain = dense.extra.get("flops_millions") == dense.macs_effective / 1e6
    return replace(
        dense,
        layers=layers,
        nnz=sum(x.nnz for x in layers),
        macs_effective=effective,
        prunable_nnz=sum(x.nnz for x in inside),
        extra={"flops_millions": effective / 1e6} if plain else {},
    )


def _parameters(published: Mapping[str, Published], dense: Cost) -> dict[str, Comparison]:
    """Printed parameters against the printed sparsity of the network's weights."""
    params, claim = published.get("params_millions"), published.get("sparsity_pct")
    if params is None or claim is None or params.suspect or claim.suspect:
        return {}
    refuted = check_figures(published, dense.prunable_total)
    if refuted:
        return refuted
    implied = dense.prunable_total * (1 - claim.value / 100) / 1e6
    reason = f"{claim.text} % sparsity of {dense.prunable_total:,} weights leaves {implied:.3f} M"
    return {"params_millions": not_judged(params, implied, "exact", reason)}


def _orders(published: Mapping[str, Published]) -> dict[str, Comparison]:
    """What is right among the first guess is right among the first three, and so on."""
    printed = [(name, published[name]) for name in _TOPS if name in published]
    found = {}
    for (fewer, low), (more, high) in pairwise(pair for pair in printed if not pair[1].suspect):
        if low.value - low.half_unit > high.value + high.half_unit:
            reason = f"{fewer} is printed as {low.text}, {more} as {high.text}: it cannot be less"
            found[more] = not_judged(high, None, INCONSISTENT, reason)
    return found
