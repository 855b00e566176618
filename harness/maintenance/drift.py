"""A new measurement against the accepted one: what drifted, what cannot be compared, what is new.

The same bytes on the same images by the same protocol give the same counts, up to the order in
which floating-point sums are taken: other machines and library versions move a logit by about
1e-5, which flips an image only if its two best classes are closer than that. Counts of weights and
MACs are integers of the file alone and must be equal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from harness.results import Result

# Between float32 and float64 no image of three ResNet-20 on 10,000 CIFAR-10 images each flips,
# logits move by 1.6e-5 at most, and at most one image has its two best classes closer than 1e-4.
# Twice that, and never less than one image.
FLIPPED_SHARE = 0.0002
LOSS_REL = 1e-4  # in the same comparison the mean loss moves by 1.3e-7 of itself
DYNAMIC_REL = 1e-3  # MACs of gates that depend on the image: a flipped gate is one layer of one


class Severity(StrEnum):
    """How much a finding matters for the exit code."""

    DRIFT = "drift"
    UNCHECKED = "could not be checked"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was."""

    kind: str
    severity: Severity
    text: str


def drift(kind: str, text: str) -> Finding:
    return Finding(kind, Severity.DRIFT, text)


def unchecked(kind: str, text: str) -> Finding:
    return Finding(kind, Severity.UNCHECKED, text)


def note(kind: str, text: str) -> Finding:
    return Finding(kind, Severity.NOTE, text)


def compare(accepted: Result, now: Result) -> list[Finding]:
    """Findings on `now`, both of one entry; empty if it is as accepted in every way."""
    found = _checkpoint(accepted, now) + environment(accepted, now)
    if accepted.entry_sha256 != now.entry_sha256:
        found.append(note("changed entry", "the registry's claims changed since the acceptance"))
    why = _incomparable(accepted, now)
    if why:
        return [*found, unchecked("not comparable", why)]
    moved = _counts(accepted, now) + _integers(accepted, now)
    if not moved and accepted.verdict.status != now.verdict.status and _same_claim(accepted, now):
        text = f"{accepted.verdict.status} -> {now.verdict.status} with unchanged numbers"
        moved = [drift("verdict drift", text)]
    return moved + found


def flips_allowed(n: int) -> int:
    """How many of `n` images may be answered differently."""
    return max(1, math.floor(FLIPPED_SHARE * n))


def environment(accepted: Result, now: Result) -> list[Finding]:
    """What surrounds the numbers and differs; never a failure."""
    changed = [
        f"{name} {accepted.versions.get(name, 'absent')} -> {now.versions.get(name, 'absent')}"
        for name in sorted({*accepted.versions, *now.versions})
        if accepted.versions.get(name) != now.versions.get(name)
    ]
    if accepted.hardware.get("machine") != now.hardware.get("machine"):
        names = [f"{h.get('cpu')} ({h.get('device')})" for h in (accepted.hardware, now.hardware)]
        changed.append(f"machine {names[0]} -> {names[1]}")
    if accepted.code.get("commit") != now.code.get("commit"):
        changed.append(f"code {_commit(accepted)} -> {_commit(now)}")
    return [note("environment", text) for text in changed]


def _commit(result: Result) -> str:
    return str(result.code.get("commit") or "unknown")[:10]


def _checkpoint(accepted: Result, now: Result) -> list[Finding]:
    before = accepted.checkpoint.sha256 if accepted.checkpoint else "none"
    after = now.checkpoint.sha256 if now.checkpoint else "none"
    if before == after:
        return []
    text = f"accepted with sha256 {before[:16]}, evaluated with {after[:16]}"
    return [drift("changed checkpoint", text)]


def _incomparable(accepted: Result, now: Result) -> str:
    if accepted.protocol.sha256 != now.protocol.sha256:
        protocols = [f"{r.protocol.name} v{r.protocol.version}" for r in (accepted, now)]
        return f"protocol {protocols[0]} -> {protocols[1]} ({now.protocol.sha256[:8]})"
    before, after = accepted.seen[0], now.seen[0]
    if before.fingerprint != after.fingerprint:
        return f"other images: {before.copy_name} -> {after.copy_name}"
    if accepted.n_images != now.n_images:
        return f"{accepted.n_images} images -> {now.n_images}"
    return ""


def _counts(accepted: Result, now: Result) -> list[Finding]:
    (_, old), (_, new) = accepted.seen, now.seen
    n, found = new.n, []
    allowed = flips_allowed(n)
    for name in ("top1", "top3", "top5"):
        before, after = getattr(old, name), getattr(new, name)
        if abs(after - before) > allowed:
            text = (
                f"{name}_pct {100 * before / n:.2f} -> {100 * after / n:.2f} "
                f"({100 * (after - before) / n:+.2f} pp, {after - before:+d} of {n} images, "
                f"{allowed} allowed)"
            )
            found.append(drift("metric drift", text))
    if not math.isclose(old.loss, new.loss, rel_tol=LOSS_REL):
        text = f"loss {old.loss:.5f} -> {new.loss:.5f}"
        found.append(drift("metric drift", text))
    return found


def _integers(accepted: Result, now: Result) -> list[Finding]:
    found = []
    for name in ("params", "nnz", "total", "macs_dense", "macs_effective"):
        before, after = getattr(accepted.cost, name), getattr(now.cost, name)
        measured = name == "macs_effective" and now.granularity == "dynamic"
        same = math.isclose(before, after, rel_tol=DYNAMIC_REL) if measured else before == after
        if not same:
            found.append(drift("metric drift", f"{name} {before:,} -> {after:,}"))
    return found


def _same_claim(accepted: Result, now: Result) -> bool:
    return accepted.entry_sha256 == now.entry_sha256
