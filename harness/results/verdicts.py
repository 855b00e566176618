"""The verdicts that there are, from best to worst, and the overall one of a result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.registry import Published

MEANINGS = {  # from best to worst
    "exact": "within half a unit of the last printed digit + 0.01 points",
    "match": "within 0.10 points",
    "near": "within 0.30 points",
    "consistent": "retrained: the means agree within two standard errors",
    "reached": "retrained by a protocol that is partly ours: likewise, or better",
    "reported": "nothing was published to compare with",
    "smoke": "subset or stand-in data: a number, never a judgement",
    "cannot check": "something needed is missing",
    "suspect": "the published cell is doubtful: shown, not judged",
    "ambiguous preprocessing": "the preprocessing is stated in several variants, none gives it",
    "not reached": "retrained by a protocol that is partly ours: the means differ",
    "published figure inconsistent": "the paper's own numbers contradict each other",
    "inconsistent": "retrained: the means differ",
    "mismatch": "re-evaluated: further away than any tolerance",
    "claim contradicted": "the file does not hold what it claims (e.g. no zeros)",
}
STATUSES = tuple(MEANINGS)
AMBIGUOUS = "ambiguous preprocessing"
INCONSISTENT = "published figure inconsistent"
FAILURES = STATUSES[STATUSES.index(INCONSISTENT) :]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric: what was printed, what was measured, and what follows."""

    status: str
    published: str | None = None  # digits as printed
    source: str | None = None
    measured: float | None = None
    delta: float | None = None  # measured - published, in the metric's own unit
    tolerance: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The overall judgement of a result."""

    status: str
    reason: str


def overall(metrics: Mapping[str, Comparison], smoke: str = "") -> Verdict:
    """The worst status of all metrics, with the reasons of the metrics that have it.

    A smoke run judges no accuracy, but a figure of the weights that fails, fails there too.
    """
    judged = {k: c for k, c in metrics.items() if c.status not in ("reported", "suspect")}
    if smoke and not judged:
        return Verdict(status="smoke", reason=smoke)
    if not judged:
        suspect = [k for k, c in metrics.items() if c.status == "suspect"]
        if suspect:
            return Verdict(status="suspect", reason=f"doubtful in the source: {', '.join(suspect)}")
        return Verdict(status="reported", reason="nothing published to compare with")
    worst = max((c.status for c in judged.values()), key=STATUSES.index)
    if smoke and not failed(worst):
        return Verdict(status="smoke", reason=smoke)
    reasons = [f"{k}: {c.reason}" for k, c in judged.items() if c.status == worst]
    return Verdict(status=worst, reason="; ".join(reasons))


def failed(status: str) -> bool:
    """True for statuses that make `bench reproduce` exit with 3."""
    return status in FAILURES


def reported(measured: float, reason: str = "not published") -> Comparison:
    """A measured number without a published one."""
    return Comparison(measured=measured, status="reported", reason=reason)


def not_judged(published: Published, measured: float | None, status: str, why: str) -> Comparison:
    """A published number that is shown but not judged (suspect, smoke, cannot check)."""
    return compared(published, measured, None, status, why)


def compared(
    published: Published, measured: float | None, limit: float | None, status: str, reason: str
) -> Comparison:
    """A published number beside `measured`, with its distance in the metric's own unit."""
    return Comparison(
        published=published.text,
        source=published.source,
        measured=measured,
        delta=None if measured is None else measured - published.value,
        tolerance=limit,
        status=status,
        reason=reason,
    )
