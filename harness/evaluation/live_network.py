"""A network in memory, evaluated as an entry says; what every evaluation prepares."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.data import EvaluationBatches, ImageSet, PictureSet, batches_of, describe, find_images
from harness.errors import BenchError, CheckpointUnavailable, ProtocolError
from harness.evaluation.recalibration import recalibrate_
from harness.evaluation.shared_pass import Loaded, evaluate_loaded
from harness.models import require_size
from harness.profile import sparsity
from harness.registry import (
    EVALUATION_BATCH,
    LOCAL,
    Entry,
    Evaluation,
    Registry,
    data_set,
    data_set_names,
    input_shape,
)
from harness.results import CheckpointFacts, Result
from harness.system import Options

if TYPE_CHECKING:
    from torch import nn

PRUNED_FROM = 0.01  # share of exact zeros; a training leaves fewer


def with_missing_data(
    error: CheckpointUnavailable, evaluation: Evaluation, options: Options
) -> CheckpointUnavailable:
    """`error`, which also tells of a data set that is not there.

    Whoever fetches the file by hand should not learn only then that the data is missing too.
    """
    data = describe(evaluation.dataset, options.data_root)
    also = "" if data.found else f" - Data set {evaluation.dataset}, too, is {data.text}"
    return CheckpointUnavailable(f"{error}{also}")  # a new one: nothing is its own cause


def evaluate_model(
    entry: Entry,
    registry: Registry,
    model: nn.Module,
    checkpoint: CheckpointFacts,
    options: Options,
    recalibrate: int | None = None,
) -> Result:
    """Evaluate `model` as `entry` says; judge, save and return the result.

    recalibrate: so many training images give its batch norms new statistics first; recorded.
    A network of one's own counts as dense only if hardly any of its weights is zero.
    """
    if entry.paper == LOCAL and entry.method == "dense":
        method, granularity = _kind(model)
        entry = replace(entry, method=method, granularity=granularity)
    evaluation = evaluation_of(entry, registry, options.dataset)
    require_size(model.eval(), entry.model, input_shape(evaluation))
    images = find_images(evaluation, options.data_root, download=not options.offline)
    if recalibrate is not None:
        options.progress.stage(f"{entry.id}: recalibrate batch norms")
        recalibrate_(model, recalibrate, evaluation, options.data_root, options.device)
    batches = prepared_batches(images, evaluation, options)
    loaded = [Loaded(entry, model, checkpoint, recalibrate)]
    (found,) = evaluate_loaded(
        loaded,
        evaluation,
        batches,
        registry,
        device=options.device,
        fast=options.fast,
        progress=options.progress,
    )
    if isinstance(found, BenchError):
        raise found
    return found


def facts_of_memory(network: nn.Module) -> CheckpointFacts:
    """The weights of a network in memory, named by the hash of their safetensors form."""
    import hashlib

    from safetensors.torch import save

    # A copy each: tied weights share memory, which the format does not allow.
    data = save({name: t.detach().cpu().clone() for name, t in network.state_dict().items()})
    return CheckpointFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        source="memory",
        format="safetensors",
        size_bytes=len(data),
        license="none stated",
    )


def _kind(model: nn.Module) -> tuple[str, str]:
    """Method and granularity of weights of which nobody says how they were made."""
    nnz, total = sparsity(model).counts()
    if total - nnz < PRUNED_FROM * total:
        return "dense", "dense"
    return "pruned", "unstructured"


def prepared_batches(
    images: ImageSet | PictureSet, evaluation: Evaluation, options: Options
) -> EvaluationBatches:
    """The batches of the evaluation protocol; pictures are decoded into the cache if asked for."""
    return batches_of(
        images,
        evaluation,
        options.device,
        EVALUATION_BATCH,
        options.limit,
        cache=options.cache,
        progress=options.progress,
    )


def evaluation_of(entry: Entry, registry: Registry, stand_in: str | None) -> Evaluation:
    """The entry's own protocol, or the same preprocessing on a stand-in data set."""
    if stand_in is not None and stand_in != entry.dataset and not data_set(stand_in).stand_in:
        known = ", ".join(name for name in data_set_names() if data_set(name).stand_in)
        msg = f"{entry.id}: {stand_in} stands in for no other data set; these do: {known}"
        raise ProtocolError(msg)
    return registry.evaluation(entry, on=stand_in)
