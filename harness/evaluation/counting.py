"""What the weights of an entry say without a single image: zeros, parameters, FLOPs.

Where the file is here and the images are not, every printed figure that follows from the weights
alone is judged, and the others say that they wait for the images.
"""

from __future__ import annotations

import time

from harness.evaluation.result import Procedure, make_result
from harness.evaluation.shared_pass import Loaded
from harness.profile import measure_cost
from harness.registry import Entry, Evaluation, Registry, input_shape
from harness.results import Measured, Result, needs_images, on_record, save


def judged_by_weights(entry: Entry) -> bool:
    """Whether any printed figure of `entry` follows from its weights alone."""
    figures = entry.published.items()
    return any(not (needs_images(entry, name) or cell.suspect) for name, cell in figures)


def count_weights(loaded: Loaded, evaluation: Evaluation, registry: Registry) -> Result:
    """Judge what `loaded` holds; save and return the result, or the one already on record.

    Counts are integers and come out the same every time, so the same file under the same code is
    stored once. Raises MetricError where products of the network have no known count.
    """
    started = time.perf_counter()
    entry, checkpoint = loaded.entry, loaded.checkpoint
    device = "cpu"
    stored = on_record(entry, evaluation, checkpoint.sha256, None, 0, device, fast=False)
    if stored is not None:
        return stored
    cost = measure_cost(
        loaded.model,
        input_shape(evaluation),
        registry.convention_of(entry),
        entry.prunable_exclude,
        judged=True,
    )
    result = make_result(
        entry,
        evaluation,
        None,
        Measured(counts=None, cost=cost, n_total=0),
        Procedure("counted", settings=entry.settings, checkpoint=checkpoint),
        device,
        time.perf_counter() - started,
    )
    save(result)
    return result
