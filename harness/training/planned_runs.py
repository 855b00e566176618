"""What a training would do: every check of the real run up to its first step, and no step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import torch

from harness.checkpoints import status
from harness.data import EvaluationBatches, Share, describe, evaluation_batches
from harness.errors import BenchError, DataError
from harness.models import source_sha256
from harness.registry import (
    EVALUATION_BATCH,
    Entry,
    Recipe,
    Registry,
    data_set,
    make_method,
    merged_settings,
    method_refusals,
    plain,
)
from harness.results import load_all
from harness.system import Options, provenance
from harness.training.queue import training_cost
from harness.training.retrain import recipe_for
from harness.training.rounds import required_rounds
from harness.training.start_weights import Start, start_entry, start_of, trained_first
from harness.training.training_plan import Training, TrainingPlan, built, run_folder, schedule_of
from harness.training.training_split import train_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A run that could begin now.

    steps: of the optimizer, for one seed, rounds included. data_note: where the images are.
    finished_seeds: are reused. estimated_s: for the other seeds, by an earlier run on this machine.
    """

    entry: str
    method: str
    settings: Mapping[str, object]
    model: str
    model_sha256: str | None
    dataset: str
    images: Mapping[str, int]
    data_fingerprint: str | None
    data_note: str
    evaluation: str
    recipe: str
    length: str
    batch: int
    optimizer: str
    lr: float
    rounds: str | None
    start: str
    start_sha256: str | None
    first: str | None
    seeds: tuple[int, ...]
    finished_seeds: tuple[int, ...]
    steps: int
    cost: str
    estimated_s: float | None
    changes: Mapping[str, object]
    assumed: str


@dataclass(frozen=True, slots=True)
class PlannedOutcome:
    """What would run, or why it cannot."""

    entry: Entry
    planned: PlannedRun | None = None
    error: BenchError | None = None


def dry_runs(
    entries: Iterable[Entry],
    registry: Registry,
    options: Options,
    training: Training,
    overrides: Mapping[str, object],
) -> Iterator[PlannedOutcome]:
    """What `retrain_together` would do with each entry; what stops one stops no other."""
    for entry in entries:
        try:
            recipe, changed = recipe_for(entry, registry, overrides)
            chosen = replace(training, overrides=changed)
            yield dry_run(entry, registry, recipe, options, chosen)
        except BenchError as error:
            yield PlannedOutcome(entry, error=error)


def dry_run(
    entry: Entry, registry: Registry, recipe: Recipe, options: Options, training: Training
) -> PlannedOutcome:
    """What `reproduce_by_training` would do, after its own checks: it raises what that would raise.

    Settings, network, picture size, start weights and data are really looked at; nothing is
    downloaded, trained or written. A missing data set is the error of an outcome that says the rest
    all the same. The global random generator is left as it was.
    """
    settings = merged_settings(entry, recipe, training.overrides)
    method = make_method(entry.method, settings)
    if recipe.prune is not None:
        required_rounds(recipe, method)
    source = None if options.from_file else start_entry(entry, recipe, registry)
    first = source if source is not None and trained_first(source) else None
    remote = source is not None and first is None and status(source) == "link"
    start = None if first or remote else start_of(entry, recipe, registry, options, _not_now)
    data = _data(entry, registry, recipe, options, training.seeds[0])
    with torch.random.fork_rng(devices=[]):
        network = built(entry, registry.evaluations[entry.evaluation], recipe, start)
        with method_refusals(f"{method.name} with recipe {recipe.name}"):
            method.attach(network, schedule_of(recipe, data.steps_per_epoch, training.seeds[0]))
    finished = _finished(entry, registry, recipe, settings, options, training, start, data)
    steps = recipe.steps(data.steps_per_epoch)
    planned = PlannedRun(
        entry=entry.id,
        method=entry.method,
        settings=method.settings.model_dump(mode="json"),
        model=entry.model,
        model_sha256=source_sha256(entry.model),
        dataset=entry.dataset,
        images=data.images,
        data_fingerprint=data.test.identity.fingerprint if data.test else None,
        data_note=data.note,
        evaluation=f"{entry.evaluation} v{registry.evaluations[entry.evaluation].version}",
        recipe=f"{recipe.name} v{recipe.version}",
        length=str(recipe.length),
        batch=recipe.batch,
        optimizer=recipe.optimizer.name,
        lr=recipe.optimizer.lr,
        rounds=_rounds_said(recipe),
        start=start.name if start else source.id if source else "random initialisation",
        start_sha256=start.facts.sha256 if start else None,
        first=_first_said(source, first, registry),
        seeds=training.seeds,
        finished_seeds=finished,
        steps=steps,
        cost=training_cost(entry, registry, recipe, len(training.seeds)).sentence,
        estimated_s=_estimate(entry, options.device, steps * (len(training.seeds) - len(finished))),
        changes={key: plain(change.value) for key, change in training.overrides.items()},
        assumed=recipe.assumed and recipe.note,
    )
    return PlannedOutcome(entry, planned, data.error)


@dataclass(frozen=True, slots=True)
class _Data:
    test: EvaluationBatches | None  # None: the real run would download it first
    steps_per_epoch: int
    images: Mapping[str, int]
    note: str
    error: DataError | None = None


def _data(entry: Entry, registry: Registry, recipe: Recipe, options: Options, seed: int) -> _Data:
    """The images of the run, found as the run would find them. Raises ProtocolError."""
    evaluation, about = registry.evaluations[entry.evaluation], data_set(entry.dataset)
    where = describe(entry.dataset, options.data_root)
    place = (evaluation, options.data_root, options.device)
    try:
        test = evaluation_batches(*place, EVALUATION_BATCH, limit=options.limit, download=False)
        batches = train_batches(recipe, *place, seed)
    except DataError as error:
        known = about.images["train"]
        count = min(recipe.train_images or known, known)
        steps = len(Share(count, recipe.batch, recipe.drop_last))
        waits = not where.found and bool(about.downloads)  # the real run would fetch it
        return _Data(None, steps, {"train": count}, where.text, None if waits else error)
    images = {"train": batches.share.count, evaluation.split: test.n}
    return _Data(test, len(batches), images, where.text)


def _finished(
    entry: Entry,
    registry: Registry,
    recipe: Recipe,
    settings: Mapping[str, object],
    options: Options,
    training: Training,
    start: Start | None,
    data: _Data,
) -> tuple[int, ...]:
    """The seeds that the real run would take from their folders."""
    if data.test is None or training.fresh:
        return ()
    evaluation = registry.evaluations[entry.evaluation]
    plan = TrainingPlan(
        entry, registry, recipe, evaluation, settings, options, training, data.test, start
    )
    folders = {seed: run_folder(plan, seed).or_finished_twin() for seed in training.seeds}
    return tuple(seed for seed, folder in folders.items() if folder.finished() is not None)


def _estimate(entry: Entry, device: str, steps: int) -> float | None:
    """Seconds, as the newest run of this network on this data set took on this machine."""
    here = provenance.hardware(device)
    for result in reversed(list(load_all())):
        same = (result.model, result.dataset, result.method) == (
            entry.model,
            entry.dataset,
            entry.method,
        )
        if same and result.hardware == here and result.runs and result.runs[-1].steps:
            run = result.runs[-1]
            return steps * run.wall_s / run.steps
    return None


def _rounds_said(recipe: Recipe) -> str | None:
    if recipe.prune is None:
        return None
    rounds = recipe.prune
    amount = "as set" if rounds.amount is None else f"{rounds.amount:g}"
    return f"{rounds.count} x (prune {amount}, then {rounds.finetune})"


def _first_said(source: Entry | None, first: Entry | None, registry: Registry) -> str | None:
    """What has to happen before the first step; None = nothing."""
    if source is None or status(source) not in ("link", "none"):
        return None
    if first is None:
        return f"download the weights of {source.id}"
    assert first.recipe is not None, "it is trained first"
    recipe = registry.recipes[first.recipe]
    return (
        f"train {first.id}: {recipe.name}, {recipe.length}, then its {recipe.selects} epoch "
        "(unless finished before)"
    )


def _not_now(source: Entry) -> NoReturn:
    raise AssertionError(f"{source.id} comes first, and a dry run trains nothing")
