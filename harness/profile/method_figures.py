"""What a method tells of its finished network beyond zeros: its figures, and its latency."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor, nn

from harness.data import EvaluationBatches
from harness.profile.timing import compare
from harness.results import Figures, Latency, Spread
from harness.system import verdict_precision
from methods.base import Method

HISTOGRAM_BINS = 20
TIMED_IMAGES = 100  # each one a repeat of every way of running the network


def figures_of(method: Method, model: nn.Module, batches: EvaluationBatches) -> Figures:
    """The method's figures of `model` over the evaluation images; empty if it has none."""
    with torch.inference_mode(), verdict_precision():
        found = method.figures(model, (images for images, _ in batches))
    values: dict[str, float] = {}
    spread: dict[str, Spread] = {}
    for name, value in found.items():
        if isinstance(value, Tensor):
            spread[name] = spread_of(value)
            values[name] = spread[name].mean
        else:
            values[name] = float(value)
    return Figures(values=values, spread=spread)


def latency_of(method: Method, model: nn.Module, batches: EvaluationBatches) -> Latency | None:
    """The method's ways of running `model`, timed on the first images; None if there is one only.

    Smaller sets repeat their images, since a percentile needs enough of them.
    """
    ways = method.timed(model)
    if not ways:
        return None
    images = torch.cat(list(_until(TIMED_IMAGES, batches)))
    rounds = -(-TIMED_IMAGES // len(images))
    return compare(ways, images.repeat(rounds, 1, 1, 1)[:TIMED_IMAGES])


def spread_of(values: Tensor) -> Spread:
    """Mean, deviation and histogram of integers (N,), summed exactly."""
    low, high = int(values.min()), int(values.max())
    exact = values.double().cpu()
    # One wider than the data, so that equal values have a bin too.
    bounds = (float(low), float(max(high, low + 1)))
    bins = HISTOGRAM_BINS if high > low else 1
    counts, edges = torch.histogram(exact, bins=bins, range=bounds)
    return Spread(
        mean=int(values.sum()) / len(values),
        std=float(exact.std(correction=0)),
        minimum=low,
        maximum=high,
        bin_edges=tuple(edges.tolist()),
        bin_counts=tuple(int(count) for count in counts),
    )


def _until(wanted: int, batches: EvaluationBatches) -> Iterator[Tensor]:
    """Images of the first batches, `wanted` in total or all there are."""
    left = wanted
    for images, _ in islice(batches, wanted):
        yield images[:left]
        left -= len(images)
        if left <= 0:
            return
