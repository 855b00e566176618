"""Latency in words: what running the pruned network gains, or where it does not."""

from __future__ import annotations

from dataclasses import dataclass

from harness.results import Latency


@dataclass(frozen=True, slots=True)
class LatencySentence:
    """The fastest way of running the pruned network, and one sentence about it."""

    best_ms: float
    sentence: str


def latency_sentence_of(latency: Latency) -> LatencySentence:
    """Compare the ways of `latency` with its first, the dense network; medians only.

    Without a gain the sentence names the share of layers that gain and the one that loses most.
    """
    dense, *others = latency.ms
    best = min(others, key=lambda way: latency.ms[way].p50)
    gain = latency.ms[dense].p50 / latency.ms[best].p50
    ways = ", ".join(f"{way} {times.p50:.2f}" for way, times in latency.ms.items())
    terms = f"batch {latency.batch}, {latency.device}, {latency.threads} threads"
    sentence = f"{ways} ({terms}, n={latency.repeats}): {best} runs at {gain:.2f} x dense speed"
    if gain <= 1 and latency.layers:
        lost = {x.name: x.ms_p50[best] - x.ms_p50[dense] for x in latency.layers}
        worst = max(lost, key=lambda name: lost[name])
        faster = sum(ms < 0 for ms in lost.values())
        sentence += (
            f", no gain: {faster} of {len(lost)} layers are faster, "
            f"{worst} loses most ({lost[worst]:+.3f} ms)"
        )
    return LatencySentence(latency.ms[best].p50, sentence)
