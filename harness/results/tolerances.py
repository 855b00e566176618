"""Published against measured: how close a number must come, and the status that follows.

Convention first, then tolerance, then a status of `verdicts` with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.registry import Published
from harness.results.verdicts import AMBIGUOUS, INCONSISTENT, STATUSES, Comparison, compared, failed

ROUNDING_SLACK_PP = 0.01  # evaluation noise between library versions, on top of printed rounding
MATCH_PP = 0.10
NEAR_PP = 0.30
STD_FLOOR_PP = 0.20  # s is floored here: few seeds underestimate the spread
CLAIM_SHARE = 0.5  # fewer than this share of the claimed zeros contradicts the claim

# Of all other metrics (a density, say) neither side is the good one.
HIGHER_IS_BETTER = ("top1_pct", "top3_pct", "top5_pct")
LOWER_IS_BETTER = ("top1_error_pct", "loss")


def judge_accuracy(
    published: Published, measured_pct: float, n_total: int, approximate_images: int | None = 0
) -> Comparison:
    """Compare a re-evaluated accuracy (percent) on a full split with the printed one.

    A copy of the data that differs from the official one in k of n images can move the accuracy by
    at most 100*k/n points; `match` and `near` widen by that much and say so. `exact` never widens.
    approximate_images: k, or None for a copy of unknown quality; n_total: n, images in the split.
    """
    if approximate_images is None:
        reason = "the data set is an unknown copy; its distance from the official one is unknown"
        return compared(published, measured_pct, None, "cannot check", reason)
    widen = 100.0 * approximate_images / n_total
    extra = f" + {widen:.2f} pp for {approximate_images} approximate images" if widen else ""
    exact = (0.0 if published.bound else published.half_unit) + ROUNDING_SLACK_PP
    delta = _distance(published, measured_pct)
    if _within(delta, exact):
        reason = f"|Δ| <= {exact:.3g} pp, half a printed digit + {ROUNDING_SLACK_PP}"
        if published.bound:
            reason = f"printed as {published.text} ({published.bound}), which holds"
        return compared(published, measured_pct, exact, "exact", reason)
    for status, limit in (("match", MATCH_PP), ("near", NEAR_PP)):
        if _within(delta, limit + widen):
            reason = f"|Δ| <= {limit:.2f} pp{extra}"
            return compared(published, measured_pct, limit + widen, status, reason)
    reason = f"|Δ| = {delta:.2f} pp > {NEAR_PP:.2f} pp{extra}"
    return compared(published, measured_pct, NEAR_PP + widen, "mismatch", reason)


def judge_variants(
    published: Published,
    measured_pct: Mapping[str, float],
    n_total: int,
    approximate_images: int | None = 0,
) -> Comparison:
    """Compare an accuracy whose preprocessing is stated in several variants with the printed one.

    measured_pct: name of the evaluation -> percent, the row's own first, whose number is shown. The
    printed number holds if a stated variant gives it, and the reason names that one; if none does,
    nobody is contradicted, since which of them was meant is not known.
    """
    judged = {
        name: judge_accuracy(published, value, n_total, approximate_images)
        for name, value in measured_pct.items()
    }
    said = ", ".join(f"{name} gives {value:.2f}" for name, value in measured_pct.items())
    best = min(judged, key=lambda name: STATUSES.index(judged[name].status))
    own = next(iter(judged.values()))
    if failed(judged[best].status):
        reason = f"stated in {len(judged)} variants, none gives {published.text}: {said}"
        return replace(own, status=AMBIGUOUS, reason=reason)
    reason = f"as {best} prepares pictures, {judged[best].reason}; {said}"
    return replace(own, status=judged[best].status, reason=reason)


def _distance(published: Published, measured: float) -> float:
    """How far `measured` is from what was printed, 0 inside a bound, in the metric's own unit."""
    above = measured - published.value
    return {
        "at least": max(0.0, -above),
        "at most": max(0.0, above),
        "cut off": max(0.0, -above, above - 2 * published.half_unit),
    }.get(published.bound or "", abs(above))


def judge_retrained(published: Published, measured: Sequence[float]) -> Comparison:
    """Compare the mean over seeds with the printed mean: consistent if |Δ| <= 2 standard errors.

    Standard deviations use ddof = 1 and are floored at 0.2 pp; an unknown number of published runs
    counts as one. The reason says which spread was taken for the printed number.
    """
    mean = math.fsum(measured) / len(measured)
    limit = _two_standard_errors(published, measured, STD_FLOOR_PP)
    delta = abs(mean - published.value)
    agrees = _within(delta, limit)
    status = "consistent" if agrees else "inconsistent"
    sign = "<=" if agrees else ">"
    seeds = f"n={len(measured)} seeds; {_spread_said(published, STD_FLOOR_PP)}"
    reason = f"|Δ| = {delta:.2f} pp {sign} 2 standard errors = {limit:.2f} pp ({seeds})"
    return compared(published, mean, limit, status, reason)


def judge_reached(
    metric: str, published: Published, measured: Sequence[float], assumed: str
) -> Comparison:
    """Compare the mean over seeds with the printed one, where parts of the protocol are ours.

    Reached if |Δ| <= 2 standard errors + half a printed digit, or if the mean is better than
    printed; a bound counts only on its own side. The spread that a source does not print is the
    row's `assumed_std`, else 0.2 pp; our own is floored at it. assumed: which parts are ours. The
    reason says what the test could resolve.
    """
    mean = math.fsum(measured) / len(measured)
    floor = float(published.assumed_std or STD_FLOOR_PP)
    limit = _two_standard_errors(published, measured, floor) + published.half_unit
    delta = mean - published.value
    apart = {"at least": -delta, "at most": delta}.get(published.bound or "", abs(delta))
    better = better_than_printed(metric, published.bound, delta)
    status = "reached" if better or _within(apart, limit) else "not reached"
    wanted = f"{published.bound} {published.text}: " if published.bound else ""
    said = "better than printed: " if better and apart > limit else wanted
    reason = (
        f"{said}Δ = {delta:+.2f}, resolved from {limit:.2f} on (n={len(measured)} seeds; "
        f"{_spread_said(published, floor)}); assumed: {assumed}"
    )
    return compared(published, mean, limit, status, reason)


def better_than_printed(metric: str, bound: str | None, delta: float) -> bool:
    """Whether `delta`, measured minus published, is on the good side of a printed number.

    False for metrics of which neither side is the good one, and for a number printed as a bound.
    """
    if bound is not None:
        return False
    return metric in HIGHER_IS_BETTER and delta > 0 or metric in LOWER_IS_BETTER and delta < 0


def _two_standard_errors(published: Published, measured: Sequence[float], floor: float) -> float:
    s_published = max(float(published.std or 0.0), floor)
    s_measured = max(sample_std(measured) or 0.0, floor)
    variances = s_published**2 / (published.n_runs or 1) + s_measured**2 / len(measured)
    return 2.0 * math.sqrt(variances)


def sample_std(values: Sequence[float]) -> float | None:
    """Standard deviation with ddof 1; None of fewer than two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1))


def _spread_said(published: Published, floor: float) -> str:
    """What the source says of its spread, and what was taken where it says nothing."""
    if published.std is not None and published.n_runs is not None:
        return f"printed ±{published.std} of {published.n_runs} runs"
    runs = f"{published.n_runs} runs" if published.n_runs else "one run"
    taken = f"±{published.std or f'{floor:g}'} of {runs}"
    return f"no ± printed, {taken} assumed" if published.std is None else f"{taken} assumed"


def judge_count(published: Published, measured: float) -> Comparison:
    """Compare exact arithmetic: round `measured` to the printed digits, then compare."""
    rounded = as_printed(published.text, measured)
    if float(rounded) == published.value:
        return compared(
            published, measured, published.half_unit, "exact", f"rounds to {rounded} as printed"
        )
    one_unit = 2 * published.half_unit
    delta = abs(measured - published.value)
    if _within(delta, one_unit):
        reason = f"rounds to {rounded}, one unit of the last digit away"
        return compared(published, measured, one_unit, "near", reason)
    reason = f"rounds to {rounded}, printed {published.text}"
    return compared(published, measured, one_unit, "mismatch", reason)


def as_printed(text: str, value: float) -> str:
    """`value` with the digits of the printed number `text`: 4089.18 like "4.09e3" is "4.09e3"."""
    mantissa, _, exponent = text.partition("e")
    digits = len(mantissa.partition(".")[2])
    scaled = value / 10.0 ** int(exponent or 0)
    return f"{scaled:.{digits}f}" + (f"e{exponent}" if exponent else "")


def judge_sparsity(published: Published, nnz: int, total: int) -> Comparison:
    """Compare the share of exact zeros (percent of prunable weights) with the claim."""
    measured = 100.0 * (total - nnz) / total
    if measured < CLAIM_SHARE * published.value:
        reason = (
            f"{published.text} % zeros claimed, {measured:.2f} % found ({nnz}/{total} non-zero)"
        )
        return compared(published, measured, None, "claim contradicted", reason)
    return judge_count(published, measured)


def check_figures(published: Mapping[str, Published], prunable_total: int) -> dict[str, Comparison]:
    """Contradictions among the paper's own numbers: non-zero parameters against sparsity.

    prunable_total: dense count of the weights the sparsity refers to. A pair is consistent if some
    values that round to the printed digits satisfy params = (1 - sparsity) * total.
    """
    params, claim = published.get("params_millions"), published.get("sparsity_pct")
    if params is None or claim is None or params.suspect or claim.suspect:
        return {}
    low = prunable_total * (1 - (claim.value + claim.half_unit) / 100) / 1e6
    high = prunable_total * (1 - (claim.value - claim.half_unit) / 100) / 1e6
    too_few, too_many = low - params.value, params.value - high
    if _within(too_few, params.half_unit) and _within(too_many, params.half_unit):
        return {}
    implied = prunable_total * (1 - claim.value / 100) / 1e6
    digits = len(params.text.partition(".")[2])
    reason = (
        f"{claim.text} % sparsity of {prunable_total:,} weights leaves "
        f"{implied:.{digits}f} M, printed {params.text} M"
    )
    return {"params_millions": compared(params, implied, params.half_unit, INCONSISTENT, reason)}


def _within(delta: float, limit: float) -> bool:
    # Decimal inputs such as 91.73 - 91.68 carry binary rounding far below any tolerance.
    return delta <= limit + 1e-9
