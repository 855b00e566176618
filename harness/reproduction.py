"""One entry from the registry to a result: the story of the program, top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkpoints import Obtained, load_into, obtain
from harness.data.datasets import ImageSet, PictureSet, describe
from harness.data.decode_cache import Policy
from harness.data.evaluation import EvaluationBatches, batches_of, find_images
from harness.data.facts import FACTS, facts
from harness.errors import BenchError, CheckpointUnavailable, KeyMismatch, ProtocolError
from harness.models import build
from harness.models.fit import require_size
from harness.one_pass import Loaded, evaluate_loaded, measuring_method
from harness.progress import Progress, Silent
from harness.record import EVALUATION_BATCH, checkpoint_facts, input_shape
from harness.registry import Entry, Evaluation, Registry
from harness.results import CheckpointFacts, Result

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller may choose about a run; none of it moves the number of a full run."""

    device: str = "cpu"
    data_root: Path | None = None
    from_file: Path | None = None  # evaluate these bytes instead of the published link
    limit: int | None = None  # evaluate only that many images, evenly spread: a smoke run
    offline: bool = False
    dataset: str | None = None  # evaluate on a stand-in such as imagenet-sample: a smoke run
    cache: Policy = "read"  # of decoded pictures
    fast: bool = False  # measure bfloat16, channels last, compiled too
    progress: Progress = field(default_factory=Silent)


def build_model(entry: Entry, evaluation: Evaluation | None = None) -> nn.Module:
    """The entry's network with fresh weights, for its data set's classes and channels.

    Raises ProtocolError if it cannot take the pictures of `evaluation`.
    """
    shape = facts(entry.dataset)
    model = build(entry.model, num_classes=shape.classes, in_channels=shape.channels)
    if evaluation is not None:
        require_size(model, entry.model, input_shape(evaluation))
    return model


def load_model(entry: Entry, options: Options) -> tuple[nn.Module, Obtained]:
    """The entry's network with its published weights, in eval mode, and where they came from.

    A dynamic entry's has its gates, from the same file.
    Raises CheckpointError (unavailable, wrong bytes, unsafe, keys that do not fit).
    """
    obtained = obtain_checkpoint(entry, options)
    return model_from(entry, obtained).to(options.device), obtained


def obtain_checkpoint(entry: Entry, options: Options) -> Obtained:
    """The entry's verified and converted file, which fits its network. Raises CheckpointError."""
    options.progress.stage(f"{entry.id}: checkpoint")
    return obtain(
        entry,
        from_file=options.from_file,
        data_root=options.data_root,
        offline=options.offline,
        progress=options.progress,
        model=partial(build_model, entry),
    )


def model_from(entry: Entry, obtained: Obtained) -> nn.Module:
    """The entry's network with these weights, in eval mode, on the CPU. Raises KeyMismatch."""
    model = build_model(entry)
    load_into(model, obtained.tensors(), entry.id)
    method = measuring_method(entry)
    if method is not None:
        try:
            model = method.add_published(model, obtained.heads())
        except ValueError as error:
            raise KeyMismatch(f"{entry.id}: {error}") from error
    return model.eval()


def reproduce_by_evaluation(entry: Entry, registry: Registry, options: Options) -> Result:
    """Evaluate the published checkpoint by its stated protocol; judge, save and return the result.

    Raises CheckpointError, DataError or MetricError; nothing is saved then.
    """
    evaluation = evaluation_of(entry, registry, options.dataset)
    try:
        model, obtained = load_model(entry, options)
    except CheckpointUnavailable as error:
        raise with_missing_data(error, evaluation, options) from error
    return evaluate_model(entry, registry, model, checkpoint_facts(obtained), options)


def with_missing_data(
    error: CheckpointUnavailable, evaluation: Evaluation, options: Options
) -> CheckpointUnavailable:
    """`error`, which also tells of a data set that is not there.

    Whoever fetches the file by hand should not learn only then that the data is missing too.
    """
    data = describe(evaluation.dataset, options.data_root)
    found = data.startswith("found")
    also = "" if found else f" - Data set {evaluation.dataset}, too, is {data}"
    return CheckpointUnavailable(f"{error}{also}")  # a new one: nothing is its own cause


def evaluate_model(
    entry: Entry,
    registry: Registry,
    model: nn.Module,
    checkpoint: CheckpointFacts,
    options: Options,
) -> Result:
    """Evaluate `model` as `entry` says; judge, save and return the result."""
    evaluation = evaluation_of(entry, registry, options.dataset)
    require_size(model.eval(), entry.model, input_shape(evaluation))
    images = find_images(evaluation, options.data_root, download=not options.offline)
    batches = prepared_batches(images, evaluation, options)
    loaded = [Loaded(entry, model, checkpoint)]
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
    if stand_in is not None and stand_in != entry.dataset and not facts(stand_in).stand_in:
        known = ", ".join(name for name, fact in FACTS.items() if fact.stand_in)
        msg = f"{entry.id}: {stand_in} stands in for no other data set; these do: {known}"
        raise ProtocolError(msg)
    return registry.evaluation(entry, on=stand_in)
