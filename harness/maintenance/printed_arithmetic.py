"""Printed figures held against each other, against the network, and against the released program.

Every rule is a pure function of one row: which of its figures cannot be right as printed, and why.
A rule allows what rounding, or cutting off, of the printed digits allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from harness.registry import Entry, Published, Registry
from harness.reports import RELEASED_CODE
from harness.results import INCONSISTENT, Comparison, not_judged

SLACK = 1e-9  # decimal numbers carry binary rounding far below any printed digit
_TOPS = ("top1_pct", "top3_pct", "top5_pct")
# Totals that are means over the layers, weighted in whatever way.
_BITS = ("weight_bits", "index_bits", "huffman_weight_bits", "huffman_index_bits")
_MEANS = ("density_pct", *_BITS, "shared_pct", "huffman_pct")
_CODES = {"huffman_weight_bits": "weight_bits", "huffman_index_bits": "index_bits"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What the rules ask of a network, dense: parameters, its layers' weights, depthwise MACs."""

    params: int
    weights: Mapping[str, int]  # layer -> conv or linear weights
    macs: Mapping[str, int]
    depthwise: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Impossible:
    """One printed figure that something else refutes."""

    entry: str
    figure: str
    kind: str  # which rule; RELEASED_CODE where only the released program refutes it
    comparison: Comparison


_Found = Iterator[tuple[str, str, float | None, str]]  # figure, kind, what holds, reason
_Rule = Callable[[Entry, Registry, Shape], _Found]


def impossible_figures(entry: Entry, registry: Registry, shape: Shape) -> list[Impossible]:
    """What cannot be right among the printed figures of `entry`, doubtful cells included."""
    return [
        Impossible(
            entry.id,
            figure,
            kind,
            not_judged(entry.published[figure], holds, INCONSISTENT, reason),
        )
        for rule in _RULES
        for figure, kind, holds, reason in rule(entry, registry, shape)
    ]


def _orders(entry: Entry, registry: Registry, shape: Shape) -> _Found:
    """Who is right at the first guess is right within three, and who is within three is in five."""
    printed = [(name, entry.published[name]) for name in _TOPS if name in entry.published]
    for (fewer, low), (more, high) in zip(printed, printed[1:], strict=False):
        if low.value - low.half_unit > high.value + high.half_unit + SLACK:
            reason = f"{fewer} is printed as {low.text}, {more} as {high.text}: it cannot be less"
            yield more, "order of top-1, top-3, top-5", None, reason


def _kept_parameters(entry: Entry, registry: Registry, shape: Shape) -> _Found:
    """R, the share of kept parameters, against their printed number.

    The number of all parameters is the network's own, or what the dense row prints.
    """
    share, params = (entry.published.get(name) for name in ("kept_pct", "params_millions"))
    if share is None or params is None:
        return
    dense = registry.entries.get(entry.baseline or "")
    totals = [shape.params / 1e6]
    if dense is not None and (printed := dense.published.get("params_millions")):
        totals.append(printed.value)
    implied = [share.value / 100 * total for total in totals]
    unit = 2 * params.half_unit
    if all(abs(params.value - value) > unit for value in implied):
        reason = (
            f"R = {share.text} % of {shape.params:,} parameters are {implied[0]:.2f} M, "
            f"printed {params.text} M"
        )
        yield "params_millions", "kept ratio against parameters", implied[0], reason


def _totals(entry: Entry, registry: Registry, shape: Shape) -> _Found:
    """A mean over layers lies between the least and the greatest of them."""
    for metric in _MEANS:
        total, layers = entry.published.get(metric), _of_layers(entry, metric)
        if total is None or len(layers) < 2:
            continue
        low = min(cell.value - cell.half_unit for cell in layers.values())
        high = max(cell.value + cell.half_unit for cell in layers.values())
        if not low - total.half_unit <= total.value <= high + total.half_unit:
            least, most = (f(layers.values(), key=lambda c: c.value) for f in (min, max))
            reason = (
                f"its layers are printed from {least.text} to {most.text}; their mean is no "
                f"{total.text}"
            )
            yield metric, "total against its layers", None, reason


def _codes(entry: Entry, registry: Registry, shape: Shape) -> _Found:
    """An optimal prefix code is never longer on average than a code of fixed width, a whole
    number of bits."""
    for huffman, fixed in _CODES.items():
        for layer, cell in _of_layers(entry, huffman).items():
            width = entry.published.get(f"{fixed}.{layer}") or entry.published.get(fixed)
            if width is not None and cell.value - cell.half_unit > width.value:
                reason = f"{cell.text} bits after Huffman coding, {width.text} before it"
                yield f"{huffman}.{layer}", "bits before and after Huffman coding", None, reason


def _of_layers(entry: Entry, metric: str) -> dict[str, Published]:
    prefix = f"{metric}."
    return {k.removeprefix(prefix): v for k, v in entry.published.items() if k.startswith(prefix)}


def _released_solver(entry: Entry, registry: Registry, shape: Shape) -> _Found:
    """RD_PRUNE's solver looks up dp[budget - kept] for forbidden rates too, and leaves its table
    as soon as the budget is smaller than the largest layer (specification section 1.4)."""
    claim = entry.published.get("sparsity_pct")
    if entry.method != "rd" or claim is None:
        return
    total, largest = sum(shape.weights.values()), max(shape.weights.values())
    limit = 100 * (1 - (largest - 1) / total)
    if claim.value > limit:
        reason = (
            f"the released solver ends with an IndexError beyond {limit:.2f} % sparsity: its "
            f"largest layer has {largest:,} of {total:,} weights"
        )
        yield "sparsity_pct", RELEASED_CODE, limit, reason


def _depthwise(entry: Entry, registry: Registry, shape: Shape) -> _Found:
    """FTWT's counter takes the whole number of active inputs per group: a depthwise layer counts
    nothing as soon as one of its channels is off (specification, section 2)."""
    claim = entry.published.get("flops_reduction_pct")
    if entry.method != "ftwt" or claim is None or not shape.depthwise:
        return
    macs = sum(shape.macs[name] for name in shape.depthwise)
    share = 100 * macs / sum(shape.macs.values())
    reason = (
        f"the released counter counts the {len(shape.depthwise)} depthwise layers as nothing once "
        f"one channel is off: {macs:,} MACs, up to {share:.2f} points of the printed {claim.text} %"
    )
    yield "flops_reduction_pct", RELEASED_CODE, claim.value - share, reason


_RULES: tuple[_Rule, ...] = (
    _orders,
    _kept_parameters,
    _totals,
    _codes,
    _released_solver,
    _depthwise,
)
