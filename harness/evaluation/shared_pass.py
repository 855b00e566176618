"""Networks through one pass over the images, each to a result of its own on record.

What is counted for a network does not depend on which others see the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from harness.checkpoints import measuring_method
from harness.data import EvaluationBatches
from harness.errors import BenchError, MetricError
from harness.evaluation.low_precision import measure_fast_
from harness.evaluation.partial_pass import PartialFile
from harness.evaluation.protocol import Evaluated, evaluate, evaluate_together
from harness.evaluation.recalibration import recalibration_note
from harness.evaluation.result import Procedure, make_result, protocol_of, smoke_reason
from harness.profile import figures_of, latency_of, measure_cost
from harness.registry import Entry, Evaluation, Override, Registry, input_shape
from harness.results import (
    CheckpointFacts,
    FastMeasurement,
    Measured,
    Result,
    Variant,
    predictions_sha256,
    save,
)
from harness.system import Progress

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network with its weights on the device, to be evaluated as `entry`."""

    entry: Entry
    model: nn.Module
    checkpoint: CheckpointFacts
    recalibrated: int | None = None  # training images that its batch norms' statistics are of
    also: tuple[tuple[Evaluation, EvaluationBatches], ...] = ()  # prepared as stated elsewhere


def evaluate_loaded(
    loaded: Sequence[Loaded],
    evaluation: Evaluation,
    batches: EvaluationBatches,
    registry: Registry,
    *,
    device: str,
    fast: bool,
    progress: Progress,
) -> list[Result | BenchError]:
    """Evaluate networks in one pass; judge, save and return the result of each.

    A network that fails has its error in its place. When all of them together run out of memory,
    each half is tried. fast: measure them in less precise arithmetic too. A pass that was killed
    is gone on with.
    """
    run = _Run(evaluation, batches, registry, device)
    return _evaluated(run, loaded, fast, progress)


def _evaluated(
    run: _Run, loaded: Sequence[Loaded], fast: bool, progress: Progress
) -> list[Result | BenchError]:
    started = time.perf_counter()
    others = f" and {len(loaded) - 1} more" if len(loaded) > 1 else ""
    title = f"{loaded[0].entry.id}{others}: evaluate on {run.evaluation.dataset}"
    progress.stage(title, total=run.batches.n)
    models, counts = [each.model for each in loaded], [run.partial(each) for each in loaded]
    try:
        found = evaluate_together(models, run.batches, progress.advance, partial=counts)
    except torch.OutOfMemoryError as error:
        if len(loaded) == 1:
            return [_failure(loaded[0].entry, error)]
        found = []
    if not found:  # outside of the handler, which would keep the full memory alive
        halves = loaded[: len(loaded) // 2], loaded[len(loaded) // 2 :]
        return [result for half in halves for result in _evaluated(run, half, fast, progress)]
    drafts = [run.draft(each, one) for each, one in zip(loaded, found, strict=True)]
    own_s = sum(one.forward_s for one in found if isinstance(one, Evaluated))
    shared_s = max(time.perf_counter() - started - own_s, 0.0) / len(loaded)
    good = [draft for draft in drafts if isinstance(draft, _Draft)]
    measured = iter(_fast(good, run.batches, progress) if fast and good else [None] * len(good))
    return [
        run.saved(draft, next(measured), shared_s) if isinstance(draft, _Draft) else draft
        for draft in drafts
    ]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A result but for its fast measurement, which changes the model's memory."""

    loaded: Loaded
    evaluated: Evaluated
    result: Result


@dataclass(frozen=True, slots=True)
class _Run:
    """What all networks of one pass have in common."""

    evaluation: Evaluation
    batches: EvaluationBatches
    registry: Registry
    device: str

    def partial(self, loaded: Loaded) -> PartialFile:
        """Where the counts of a network are kept until its result is on record."""
        images = (self.batches.identity.fingerprint, self.batches.n, self.batches.batch_size)
        network = loaded.checkpoint.sha256
        if loaded.recalibrated is not None:
            network += f" recalibrated on {loaded.recalibrated}"
        return PartialFile(loaded.entry, self.evaluation, network, images, self.device)

    def draft(self, loaded: Loaded, found: Evaluated | Exception) -> _Draft | BenchError:
        """The judged result, not yet saved, or why there is none."""
        if isinstance(found, Exception):
            return _failure(loaded.entry, found)
        try:
            return _Draft(loaded, found, self._judged(loaded, found))
        except BenchError as error:
            return error

    def saved(self, draft: _Draft, fast: FastMeasurement | None, shared_s: float) -> Result:
        """The finished result, on record."""
        wall_s = draft.evaluated.forward_s + shared_s
        result = replace(draft.result, wall_s=wall_s, fast=fast)
        save(result, draft.evaluated.predictions)
        self.partial(draft.loaded).forget()
        return result

    def _judged(self, loaded: Loaded, found: Evaluated) -> Result:
        entry, model, batches = loaded.entry, loaded.model, self.batches
        method = measuring_method(entry)
        cost = measure_cost(
            model,
            input_shape(self.evaluation),
            self.registry.convention_of(entry),
            entry.prunable_exclude,
            figures_of(method, model, batches) if method else None,
            judged=bool(entry.published),
        )
        variants = tuple(_variant(model, *prepared) for prepared in loaded.also)
        measured = Measured(
            counts=found.counts,
            cost=cost,
            n_total=batches.identity.n_total,
            approximate_images=batches.identity.approximate_images,
            smoke=smoke_reason(self.evaluation, batches),
            evaluation=self.evaluation.name,
            variants={variant.protocol.name: variant.counts for variant in variants},
        )
        procedure = Procedure(
            "evaluated",
            settings=entry.settings,
            checkpoint=loaded.checkpoint,
            predictions_sha256=predictions_sha256(found.predictions),
            variants=variants,
            overrides=_recalibration(loaded.recalibrated),
            notes=() if loaded.recalibrated is None else (recalibration_note(loaded.recalibrated),),
        )
        return make_result(
            entry,
            self.evaluation,
            batches.identity,
            measured,
            procedure,
            self.device,
            found.forward_s,
            latency_of(method, model, batches) if method else None,
        )


def _variant(model: nn.Module, evaluation: Evaluation, batches: EvaluationBatches) -> Variant:
    """What the network answers to the images prepared in another way."""
    found = evaluate(model, batches)
    return Variant(
        protocol=protocol_of(evaluation),
        counts=found.counts,
        predictions_sha256=predictions_sha256(found.predictions),
    )


def _recalibration(count: int | None) -> dict[str, Override]:
    """How a result says that the network is not quite that of the file."""
    return {} if count is None else {"recalibrate": Override(count, None, "command line")}


def _fast(
    drafts: Sequence[_Draft], batches: EvaluationBatches, progress: Progress
) -> list[FastMeasurement | None]:
    """The fast measurements; one that fails is noted, since the verdict stands without it."""
    models = [draft.loaded.model for draft in drafts]
    found = measure_fast_(models, [draft.evaluated for draft in drafts], batches, progress)
    measured: list[FastMeasurement | None] = []
    for draft, one in zip(drafts, found, strict=True):
        if isinstance(one, Exception):
            progress.note(f"{draft.loaded.entry.id}: no fast measurement: {_first_line(one)}")
        measured.append(None if isinstance(one, Exception) else one)
    return measured


def _failure(entry: Entry, error: Exception) -> BenchError:
    """`error` as one for the user, with the entry's id."""
    if isinstance(error, BenchError):
        return type(error)(f"{entry.id}: {error}")
    advice = "Free some, or run on the CPU: --device cpu."
    if not isinstance(error, torch.OutOfMemoryError):
        advice = f"Do its weights belong to this network? See: bench show {entry.id}"
    failure = MetricError(
        f"{entry.id}: the network cannot be evaluated: {_first_line(error)} {advice}"
    )
    failure.__cause__ = error
    return failure


def _first_line(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0][:200].rstrip(".")
    return f"{type(error).__name__}: {first}."
