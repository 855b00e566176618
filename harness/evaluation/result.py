"""Assemble a Result: the one place where entry, measurement and provenance meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.models import source_sha256
from harness.profile import notes_of
from harness.registry import (
    EVALUATION_BATCH,
    LOCAL,
    Entry,
    Evaluation,
    Overrides,
    data_set,
    entry_sha256,
    evaluation_sha256,
)
from harness.results import (
    CheckpointFacts,
    Latency,
    Measured,
    Mode,
    Protocol,
    Result,
    Run,
    Variant,
    judge,
    new_id,
    overall,
)
from harness.system import provenance

if TYPE_CHECKING:
    from harness.checkpoints import Obtained
    from harness.data import EvaluationBatches, ImageIdentity


@dataclass(frozen=True, slots=True)
class Procedure:
    """How the weights came to be: mode, and everything that was chosen on the way."""

    mode: Mode
    recipe: Protocol | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    overrides: Overrides = field(default_factory=dict)
    checkpoint: CheckpointFacts | None = None
    runs: tuple[Run, ...] = ()
    precision: str = "float32"
    predictions_sha256: str | None = None
    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()


def make_result(
    entry: Entry,
    evaluation: Evaluation,
    data: ImageIdentity | None,
    measured: Measured,
    procedure: Procedure,
    device: str,
    wall_s: float,
    latency: Latency | None = None,
) -> Result:
    """Judge what was measured and put it on record (not yet saved)."""
    metrics = judge(entry, measured)
    result_id, created = new_id()
    return Result(
        result_id=result_id,
        created=created,
        entry=entry.id,
        entry_sha256=None if entry.paper == LOCAL else entry_sha256(entry),
        paper=None if entry.paper == LOCAL else entry.paper,
        method=entry.method,
        model=entry.model,
        model_sha256=source_sha256(entry.model),
        dataset=entry.dataset,
        granularity=entry.granularity,
        mode=procedure.mode,
        smoke=measured.smoke,
        protocol=protocol_of(evaluation),
        recipe=procedure.recipe,
        settings=dict(procedure.settings),
        overrides=procedure.overrides,
        checkpoint=procedure.checkpoint,
        data=data,
        counts=measured.counts,
        variants=procedure.variants,
        runs=procedure.runs,
        cost=measured.cost,
        latency=latency,
        metrics=metrics,
        verdict=overall(metrics, measured.smoke),
        predictions_sha256=procedure.predictions_sha256,
        precision=procedure.precision,
        batch_size=EVALUATION_BATCH,
        wall_s=wall_s,
        versions=provenance.versions(),
        hardware=provenance.hardware(device),
        code=provenance.code_version(),
        notes=(*procedure.notes, *notes_of(measured.cost)),
    )


def protocol_of(evaluation: Evaluation) -> Protocol:
    """The evaluation as a result names it."""
    return Protocol(
        name=evaluation.name, version=evaluation.version, sha256=evaluation_sha256(evaluation)
    )


def smoke_reason(evaluation: Evaluation, batches: EvaluationBatches) -> str:
    """Why an evaluation over `batches` is no full one; "" if it is."""
    stand_in = data_set(evaluation.dataset).stand_in
    if stand_in:
        return stand_in
    if batches.n < batches.identity.n_total:
        return f"{batches.n} of {batches.identity.n_total} images, evenly spread"
    return ""


def checkpoint_facts(obtained: Obtained) -> CheckpointFacts:
    """The bytes that were loaded."""
    return CheckpointFacts(
        sha256=obtained.sha256,
        source=obtained.source,
        format=obtained.format,
        size_bytes=obtained.size_bytes,
        license=obtained.license,
        stated=dict(obtained.stated),
        notes=tuple(obtained.notes),
    )
