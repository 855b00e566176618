"""One entry from the registry to a result: the story of the program, top to bottom."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkpoints import Obtained, load_into, obtain
from harness.chosen_method import make_method
from harness.cost import measure_cost
from harness.data.datasets import describe
from harness.data.evaluation import evaluation_batches
from harness.data.facts import FACTS, facts
from harness.errors import CheckpointUnavailable, KeyMismatch, ProtocolError
from harness.judge import Measured
from harness.models import build
from harness.progress import Progress, Silent
from harness.record import (
    EVALUATION_BATCH,
    Procedure,
    checkpoint_facts,
    data_facts,
    input_shape,
    make_result,
    smoke_reason,
)
from harness.registry import Entry, Evaluation, Registry
from harness.results import CheckpointFacts, Result, predictions_sha256, save

if TYPE_CHECKING:
    from torch import nn

    from methods.base import Method


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller may choose about a run; none of it moves the number of a full run."""

    device: str = "cpu"
    data_root: Path | None = None
    from_file: Path | None = None  # evaluate these bytes instead of the published link
    limit: int | None = None  # evaluate only the first images: a smoke run
    offline: bool = False
    dataset: str | None = None  # evaluate on a stand-in such as imagenet-sample: a smoke run
    progress: Progress = field(default_factory=Silent)


def build_model(entry: Entry) -> nn.Module:
    """The entry's network with fresh weights, for its data set's classes and channels."""
    shape = facts(entry.dataset)
    return build(entry.model, num_classes=shape.classes, in_channels=shape.channels)


def load_model(entry: Entry, options: Options) -> tuple[nn.Module, Obtained]:
    """The entry's network with its published weights, in eval mode, and where they came from.

    A dynamic entry's has its gates, from the same file.
    Raises CheckpointError (unavailable, wrong bytes, unsafe, keys that do not fit).
    """
    options.progress.stage(f"{entry.id}: checkpoint")
    obtained = obtain(
        entry,
        from_file=options.from_file,
        data_root=options.data_root,
        offline=options.offline,
        progress=options.progress,
    )
    model = build_model(entry)
    load_into(model, obtained.tensors(), entry.id)
    method = measuring_method(entry)
    if method is not None:
        try:
            model = method.add_published(model, obtained.heads())
        except ValueError as error:
            raise KeyMismatch(f"{entry.id}: {error}") from error
    return model.eval().to(options.device), obtained


def measuring_method(entry: Entry) -> Method | None:
    """The method of a dynamic entry, whose figures zeros do not tell; None for all others."""
    if entry.granularity != "dynamic":
        return None
    return make_method(entry.method, entry.settings)


def reproduce_by_evaluation(entry: Entry, registry: Registry, options: Options) -> Result:
    """Evaluate the published checkpoint by its stated protocol; judge, save and return the result.

    Raises CheckpointError, DataError or MetricError; nothing is saved then.
    """
    evaluation = _evaluation(entry, registry, options.dataset)
    try:
        model, obtained = load_model(entry, options)
    except CheckpointUnavailable as error:
        # Whoever fetches the file by hand should not learn only then that the data is missing too.
        data = describe(evaluation.dataset, options.data_root)
        if data.startswith("found"):
            raise
        raise CheckpointUnavailable(
            f"{error} - Data set {evaluation.dataset}, too, is {data}"
        ) from error
    return evaluate_model(entry, registry, model, checkpoint_facts(obtained), options)


def evaluate_model(
    entry: Entry,
    registry: Registry,
    model: nn.Module,
    checkpoint: CheckpointFacts,
    options: Options,
) -> Result:
    """Evaluate `model` as `entry` says; judge, save and return the result."""
    from harness.figures import figures_of, latency_of
    from harness.protocols.evaluate import evaluate

    started = time.perf_counter()
    evaluation = _evaluation(entry, registry, options.dataset)
    batches = evaluation_batches(
        evaluation,
        options.data_root,
        options.device,
        EVALUATION_BATCH,
        limit=options.limit,
        download=not options.offline,
    )
    options.progress.stage(f"{entry.id}: evaluate on {evaluation.dataset}", total=batches.n)
    evaluated = evaluate(model, batches, options.progress.advance)
    method = measuring_method(entry)
    cost = measure_cost(
        model,
        input_shape(evaluation),
        registry.convention_of(entry),
        entry.prunable_exclude,
        figures_of(method, model, batches) if method else None,
    )
    measured = Measured(
        counts=evaluated.counts,
        cost=cost,
        n_total=batches.n_total,
        approximate_images=batches.approximate_images,
        smoke=smoke_reason(evaluation, batches),
    )
    result = make_result(
        entry,
        evaluation,
        data_facts(evaluation, batches),
        measured,
        Procedure(
            "evaluated",
            settings=entry.settings,
            checkpoint=checkpoint,
            predictions_sha256=predictions_sha256(evaluated.predictions),
        ),
        options.device,
        time.perf_counter() - started,
        latency_of(method, model, batches) if method else None,
    )
    save(result, evaluated.predictions)
    return result


def _evaluation(entry: Entry, registry: Registry, stand_in: str | None) -> Evaluation:
    """The entry's own protocol, or the same preprocessing on a stand-in data set."""
    if stand_in is not None and stand_in != entry.dataset and not facts(stand_in).stand_in:
        known = ", ".join(name for name, fact in FACTS.items() if fact.stand_in)
        msg = f"{entry.id}: {stand_in} stands in for no other data set; these do: {known}"
        raise ProtocolError(msg)
    return registry.evaluation(entry, on=stand_in)
