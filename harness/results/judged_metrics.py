"""From an entry and what was measured to one comparison per metric.

One small function per published metric, looked up by name, so that no function knows papers or ids.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.registry import LOCAL, Entry, Published
from harness.results import tolerances
from harness.results.figure_outcomes import needs_images
from harness.results.schema import Cost, Counts
from harness.results.verdicts import Comparison, not_judged, reported


@dataclass(frozen=True, slots=True)
class Measured:
    """What one evaluation, or several seeds of a training run, found."""

    counts: Counts | None  # None: the weights alone were counted, no image was here
    cost: Cost
    n_total: int  # images in the split
    approximate_images: int | None = 0
    # Retrained: metric or method's figure -> one value per seed.
    per_seed_pct: Mapping[str, Sequence[float]] | None = None
    smoke: str = ""
    assumed: str = ""  # which parts of a retrained protocol are ours
    evaluation: str = ""  # what prepared the pictures; only needed beside variants
    variants: Mapping[str, Counts] = field(default_factory=dict)  # of the other stated evaluations


def judge(entry: Entry, measured: Measured) -> dict[str, Comparison]:
    """Metric name -> comparison, for everything published and the figures worth having anyway."""
    found: dict[str, Comparison] = {}
    for name, published in entry.published.items():
        found[name] = _one(name, published, entry, measured)
    contradictions = tolerances.check_figures(entry.published, measured.cost.prunable_total)
    for name, contradiction in contradictions.items():
        # The paper's own arithmetic settles the status; what is shown stays what was measured.
        found[name] = replace(contradiction, measured=found[name].measured, delta=found[name].delta)
    if "top1_pct" not in found and entry.top1 is not None:  # its error was printed, and is judged
        value = _value("top1_pct", measured)
        found["top1_pct"] = not_judged(entry.top1, value, "reported", entry.top1.note)
    reason = "own result" if entry.paper == LOCAL else "not published"
    for name, value in _always(entry, measured).items():
        found.setdefault(name, reported(value, reason))
    return found


def _always(entry: Entry, measured: Measured) -> dict[str, float]:
    """Shown even when nobody published them. A dynamic network has no zeros to tell of."""
    counts, cost = measured.counts, measured.cost
    zeros = {} if entry.granularity == "dynamic" else {"sparsity_pct": cost.sparsity_pct}
    seen = {"top1_pct": counts.top1_pct, "loss": counts.loss} if counts else {}
    values = {**seen, **zeros, **cost.extra}
    return {name: _mean(name, measured, value) for name, value in values.items()}


def _mean(name: str, measured: Measured, first: float) -> float:
    """Mean over seeds of metric `name` where there are several, else `first`."""
    seeds = (measured.per_seed_pct or {}).get(name, ())
    return math.fsum(seeds) / len(seeds) if seeds else first


def _one(name: str, published: Published, entry: Entry, measured: Measured) -> Comparison:
    if published.suspect:
        value = _value(name, measured)
        return not_judged(published, value, "suspect", published.note or "doubtful cell")
    if measured.counts is None and needs_images(entry, name):
        why = f"waits for the images of {entry.dataset}"
        return not_judged(published, None, "cannot check", why)
    judged = _JUDGES.get(name.partition(".")[0])
    if judged is None:
        value = _value(name, measured)
        return not_judged(published, value, "reported", "shown, not judged")
    return judged(name, published, measured)


def _accuracy(name: str, published: Published, measured: Measured) -> Comparison:
    value = _value(name, measured)
    if measured.smoke:
        return not_judged(published, value, "smoke", measured.smoke)
    if measured.per_seed_pct and name in measured.per_seed_pct:
        return _retrained(name, published, measured.per_seed_pct[name], measured)
    assert value is not None  # figures of images get here with counts only
    if measured.variants:
        others = {variant: _seen(counts)[name] for variant, counts in measured.variants.items()}
        return tolerances.judge_variants(
            published,
            {measured.evaluation: value, **others},
            measured.n_total,
            measured.approximate_images,
        )
    return tolerances.judge_accuracy(
        published, value, measured.n_total, measured.approximate_images
    )


def _retrained(
    name: str, published: Published, seeds: Sequence[float], measured: Measured
) -> Comparison:
    if measured.assumed:
        return tolerances.judge_reached(name, published, seeds, measured.assumed)
    return tolerances.judge_retrained(published, seeds)


def _sparsity(name: str, published: Published, measured: Measured) -> Comparison:
    if "." in name:  # of one layer
        return _figure(name, published, measured)
    cost = measured.cost
    return tolerances.judge_sparsity(published, cost.prunable_nnz, cost.prunable_total)


def _params(name: str, published: Published, measured: Measured) -> Comparison:
    """Non-zero prunable weights; a dense row may instead count every parameter.

    A method's own count comes first: it knows what its paper calls left.
    """
    cost = measured.cost
    if name in cost.extra:
        return _figure(name, published, measured)
    judged = tolerances.judge_count(published, cost.prunable_nnz / 1e6)
    if judged.status != "exact" and cost.prunable_nnz == cost.prunable_total:
        everything = tolerances.judge_count(published, cost.params / 1e6)
        return everything if everything.status == "exact" else judged
    return judged


def _figure(name: str, published: Published, measured: Measured) -> Comparison:
    value = _value(name, measured)
    if value is None:
        why = "depends on the input or on the method's state, which this run does not have"
        return not_judged(published, None, "cannot check", why)
    seeds = (measured.per_seed_pct or {}).get(name)
    if measured.smoke and (seeds or measured.cost.spread):  # depends on images or on training
        return not_judged(published, value, "smoke", measured.smoke)
    if seeds:
        return _retrained(name, published, seeds, measured)
    return tolerances.judge_count(published, value)


def _value(name: str, measured: Measured) -> float | None:
    """The measured value of metric `name`, in the paper's convention, or None."""
    if name in measured.cost.extra:
        return _mean(name, measured, measured.cost.extra[name])
    first = _seen(measured.counts).get(name) if measured.counts else None
    if first is not None:
        return _mean(name, measured, first)
    return _counted(name, measured.cost)


def _seen(counts: Counts) -> dict[str, float]:
    return {
        "top1_pct": counts.top1_pct,
        "top1_error_pct": 100.0 - counts.top1_pct,
        "top3_pct": counts.top3_pct,
        "top5_pct": counts.top5_pct,
        "loss": counts.loss,
    }


def _counted(name: str, cost: Cost) -> float | None:
    """A metric of the network, or "metric.layer" of one layer, that integer counts determine."""
    if name == "sparsity_pct":
        return 100.0 * (1 - cost.prunable_nnz / cost.prunable_total)
    if name == "params_millions":
        return cost.prunable_nnz / 1e6
    metric, dot, layer = name.partition(".")
    rows = [row for row in cost.layers if not dot or row.name == layer]
    total, nnz = sum(row.total for row in rows), sum(row.nnz for row in rows)
    if not total:
        return None
    counts = {
        "density_pct": 100.0 * nnz / total,
        "sparsity_pct": 100.0 * (total - nnz) / total,
        "weights_thousands": total / 1e3,
        "flops_thousands": 2 * sum(row.macs_dense for row in rows) / 1e3,
        "compression_ratio": total / max(1, nnz),
        "size_kb": 4 * cost.params / 1e3,
    }
    return counts.get(metric)


_JUDGES: dict[str, Callable[[str, Published, Measured], Comparison]] = {
    "top1_pct": _accuracy,
    "top1_error_pct": _accuracy,
    "top3_pct": _accuracy,
    "top5_pct": _accuracy,
    "sparsity_pct": _sparsity,
    "params_millions": _params,
    "flops_millions": _figure,
    "flops_remaining_pct": _figure,
    "flops_reduction_pct": _figure,
    "kept_pct": _figure,
    "density_pct": _figure,
    "weights_thousands": _figure,
    "flops_thousands": _figure,
    "activations_pct": _figure,
    "gain_over_dense_pp": _figure,
    "early_gain_over_dense_pp": _figure,
    "compression_ratio": _figure,
    "size_kb": _figure,
    "weight_bits": _figure,
    "index_bits": _figure,
    "shared_pct": _figure,
    "huffman_weight_bits": _figure,
    "huffman_index_bits": _figure,
    "huffman_pct": _figure,
}
