"""One entry trained from its recipe, seed by seed, to a result: the other half of the story."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from harness import paths
from harness.checkpoints import read_weights
from harness.data import evaluation_batches
from harness.errors import BenchError, Preempted, ProtocolError
from harness.evaluation import (
    Listener,
    Outcome,
    Procedure,
    make_result,
    recalibration_note,
    smoke_reason,
)
from harness.profile import measure_cost
from harness.registry import (
    EVALUATION_BATCH,
    LOCAL,
    Entry,
    Overrides,
    PruneRounds,
    Recipe,
    Registry,
    entry_sha256,
    input_shape,
    make_method,
    merged_settings,
    plain,
    recipe_sha256,
    with_overrides,
)
from harness.results import (
    Measured,
    Protocol,
    Result,
    Run,
    changed_lengths,
    load_all,
    predictions_sha256,
    save,
)
from harness.system import Options, Silent, locked, processes, rank, wait_for_all, world_size
from harness.training.queue import queued_result, training_cost
from harness.training.request import TrainingRequest
from harness.training.rounds import required_rounds
from harness.training.seed import Seed, one_seed
from harness.training.signals import obeyed
from harness.training.start_weights import Start, start_of
from harness.training.training_plan import Training, TrainingPlan, run_folder
from harness.training.training_split import subset_reason


def retrain_together(
    entries: Iterable[Entry],
    registry: Registry,
    options: Options,
    training: Training,
    overrides: Mapping[str, object],
    *,
    resume: bool = False,
    on_result: Listener | None = None,
) -> Iterator[Outcome]:
    """Train `entries` by their recipes, one after the other; one outcome each, as it is known.

    overrides: of every recipe, dotted key -> typed value. resume: an entry whose result is on
    record is not trained again. What stops one entry stops no other. With several entries the
    progress says which one comes next and about how long it takes.
    Raises Preempted after SIGTERM or Ctrl-C.
    """
    waiting = list(entries)
    for place, entry in enumerate(waiting, 1):
        try:
            recipe, changed = recipe_for(entry, registry, overrides)
            chosen = replace(training, overrides=changed)
            found = queued_result(entry, recipe, changed, len(training.seeds)) if resume else None
            if found is not None:
                yield Outcome(entry, found, on_record=True)
                continue
            if len(waiting) > 1:
                cost = training_cost(entry, registry, recipe, len(training.seeds))
                options.progress.note(f"{place}/{len(waiting)} {entry.id}: {cost.sentence}")
            result = reproduce_by_training(
                entry, registry, recipe, options, chosen, on_result=on_result
            )
        except Preempted:
            if len(waiting) > 1:
                left = ", ".join(later.id for later in waiting[place:]) or "nothing"
                options.progress.note(f"next time: {entry.id} goes on; after it {left}")
            raise
        except BenchError as error:
            yield Outcome(entry, error=error)
        else:
            yield Outcome(entry, result)


def recipe_for(
    entry: Entry, registry: Registry, overrides: Mapping[str, object]
) -> tuple[Recipe, Overrides]:
    """The entry's recipe with the user's changes. Raises ProtocolError if it has none."""
    if entry.recipe is None:
        msg = f"{entry.id}: no training protocol is known. What is known: bench show {entry.id}"
        raise ProtocolError(msg)
    return with_overrides(registry.recipes[entry.recipe], overrides)


def reproduce_by_training(
    entry: Entry,
    registry: Registry,
    recipe: Recipe,
    options: Options,
    training: Training,
    *,
    on_result: Listener | None = None,
) -> Result:
    """Train every seed of `entry` by `recipe`, judge the mean, save and return the result.

    Finished seeds are reused, interrupted ones continue, and a result of these very runs that is
    on record already is returned instead of a twin. Under torchrun all processes train one
    model together and process 0 reports and saves. on_result: called with the result, also of a
    baseline that had to be trained first; whoever draws or mirrors is handed in here, and makes
    good what a killed command did not come to.
    Raises ProtocolError, DataError, CheckpointError, or Preempted after SIGTERM or Ctrl-C.
    """
    started = time.perf_counter()
    method = make_method(entry.method, merged_settings(entry, recipe, training.overrides))
    if recipe.prune is not None:
        required_rounds(recipe, method)
    with processes(options.device) as device, obeyed():
        progress = Silent() if rank() else options.progress
        options = replace(options, device=device, progress=progress)
        plan = _plan(entry, registry, recipe, options, training, on_result)
        seeds = [one_seed(_with_start(plan, seed), seed) for seed in training.seeds]
        plan = _with_start(plan, training.seeds[0])
        result = _of_these_runs(plan, seeds) or _saved_once(plan, seeds, started)
        if rank() == 0 and on_result is not None:
            on_result(result)
    return result


def _saved_once(plan: TrainingPlan, seeds: list[Seed], started: float) -> Result:
    """The result of `seeds`, saved by the first process unless another command just did."""
    result = _result(plan, seeds, time.perf_counter() - started)
    if rank() != 0:
        return result
    with locked(paths.runs_folder() / ".locks" / f"{plan.entry.id}-result.lock"):
        found = _of_these_runs(plan, seeds)
        if found is None:
            save(result, seeds[0].predictions)
    return found or result


def train_seed(request: TrainingRequest, registry: Registry, seed: int) -> Seed:
    """One seed trained to its end, without a result: `reproduce_by_training` finds it finished.

    Raises as that one does, and RunInUse while another process trains the very same seed.
    """
    entry, recipe, training = request.entry, request.recipe, request.training
    make_method(entry.method, merged_settings(entry, recipe, training.overrides))
    with processes(request.options.device) as device, obeyed():
        options = replace(request.options, device=device)
        plan = _plan(entry, registry, recipe, options, training, on_result=None)
        return one_seed(_with_start(plan, seed), seed)


def _with_start(plan: TrainingPlan, seed: int) -> TrainingPlan:
    """`plan` for one seed; a first training gives the start weights of the same seed."""
    first = plan.training.first
    if first is None:
        return plan
    alone = replace(plan.training, seeds=(seed,), overrides={}, first=None, fresh=False)
    options = replace(plan.options, from_file=None)
    before = _plan(first.entry, plan.registry, first.recipe, options, alone, on_result=None)
    file = one_seed(before, seed).folder.weights
    tensors, facts = read_weights(file)
    here = replace(facts, source=f"trained:{first.entry.id}")
    start = Start(f"the same seed of {first.entry.id}, trained here", tensors, here, file)
    return replace(plan, start=start)


def _of_these_runs(plan: TrainingPlan, seeds: list[Seed]) -> Result | None:
    """The newest stored result of exactly these runs, settings and claims, if there is one.

    A run that was repeated with --fresh is another one: it took another time.
    """
    claims = None if plan.entry.paper == LOCAL else entry_sha256(plan.entry)
    wanted = _identity([seed.run for seed in seeds], plan.settings, claims)
    for result in reversed(list(load_all(entry=plan.entry.id))):
        if wanted == _identity(result.runs, result.settings, result.entry_sha256):
            note = f"{result.entry}: on record since {result.created}; nothing is stored again"
            plan.options.progress.note(note)
            return result
    return None


def _identity(
    runs: Iterable[Run], settings: Mapping[str, object], claims: str | None
) -> tuple[object, ...]:
    return [plain(run) for run in runs], plain(settings), claims


def _plan(
    entry: Entry,
    registry: Registry,
    recipe: Recipe,
    options: Options,
    training: Training,
    on_result: Listener | None,
) -> TrainingPlan:
    """Start weights, trained first where that is needed, and the evaluation images."""
    evaluation = registry.evaluations[entry.evaluation]

    def train_first(source: Entry) -> Path:
        return _weights_of(source, registry, options, training, on_result)

    start = start_of(entry, recipe, registry, options, train_first)
    test = evaluation_batches(
        evaluation, options.data_root, options.device, EVALUATION_BATCH, limit=options.limit
    )
    settings = merged_settings(entry, recipe, training.overrides)
    return TrainingPlan(
        entry, registry, recipe, evaluation, settings, options, training, test, start
    )


def _weights_of(
    entry: Entry,
    registry: Registry,
    options: Options,
    training: Training,
    on_result: Listener | None,
) -> Path:
    """Weights of `entry` trained by its own recipe with seed 0: a run and a result of its own.

    The epoch that the recipe selects. Finished runs are reused, also under --fresh.
    """
    assert entry.recipe is not None  # trained_first
    recipe = registry.recipes[entry.recipe]
    alone = replace(training, seeds=(0,), overrides={}, fresh=False)
    options.progress.note(f"{entry.id} comes first: {recipe.length} with {recipe.name}")
    plan = _plan(entry, registry, recipe, options, alone, on_result)
    folder = run_folder(plan, 0).or_finished_twin()
    if folder.finished() is None or not _on_record(plan):
        reproduce_by_training(entry, registry, recipe, options, alone, on_result=on_result)
        wait_for_all()  # the first process has written by then
    return folder.best if recipe.selects == "best" else folder.weights


def _on_record(plan: TrainingPlan) -> bool:
    """Whether a result of this entry by this recipe was saved: a run may be killed just before."""
    wanted = recipe_sha256(plan.recipe)
    stored = load_all(entry=plan.entry.id)
    return any(result.recipe and result.recipe.sha256 == wanted for result in stored)


def _result(plan: TrainingPlan, seeds: list[Seed], wall_s: float) -> Result:
    """Mean over seeds, cost of the first seed's network, and the verdict."""
    entry, evaluation = plan.entry, plan.evaluation
    convention = plan.registry.convention_of(entry)
    first = seeds[0]
    cost = measure_cost(
        first.model,
        input_shape(evaluation),
        convention,
        entry.prunable_exclude,
        first.figures,
        plan.settings,
        judged=bool(entry.published),
    )
    measured = Measured(
        counts=first.run.counts,
        cost=cost,
        n_total=plan.test.identity.n_total,
        approximate_images=plan.test.identity.approximate_images,
        per_seed_pct=_per_seed([seed.run for seed in seeds]),
        smoke=smoke_reason(evaluation, plan.test)
        or subset_reason(plan.recipe, evaluation)
        or changed_schedule(entry, plan.training.overrides, plan.start, plan.options.from_file),
        assumed=plan.registry.assumed_of(entry, plan.recipe),
    )
    procedure = Procedure(
        mode="trained" if plan.recipe.prune is None else "pruned",
        recipe=Protocol(
            name=plan.recipe.name,
            version=plan.recipe.version,
            sha256=recipe_sha256(plan.recipe),
        ),
        settings=plan.settings,
        overrides=plan.training.overrides,
        checkpoint=plan.start.facts if plan.start else None,
        runs=tuple(seed.run for seed in seeds),
        predictions_sha256=predictions_sha256(first.predictions),
        precision=_precision(plan),
        notes=training_notes(plan.recipe, plan.training.overrides, plan.start),
    )
    images, device = plan.test.identity, plan.options.device
    return make_result(
        entry, evaluation, images, measured, procedure, device, wall_s, first.latency
    )


def _per_seed(runs: list[Run]) -> dict[str, list[float]]:
    """Metric -> one value per seed: accuracies, and every figure of the method."""
    counts = [run.counts for run in runs]
    return {
        "top1_pct": [c.top1_pct for c in counts],
        "top1_error_pct": [100.0 - c.top1_pct for c in counts],
        "top3_pct": [c.top3_pct for c in counts],
        "top5_pct": [c.top5_pct for c in counts],
        **{name: [run.figures[name] for run in runs] for name in runs[0].figures},
    }


def _precision(plan: TrainingPlan) -> str:
    speed = plan.training.speed
    extras = [name for name, on in asdict(speed).items() if on]
    return "+".join(
        [{"fp32": "float32"}.get(plan.recipe.precision, plan.recipe.precision), *extras]
    )


def changed_schedule(
    entry: Entry, overrides: Overrides, start: Start | None, from_file: Path | None
) -> str:
    """Why a run is no judgement; "" if it is.

    A changed recipe cannot confirm or refute a paper; a user's own run is what it is.
    """
    if entry.paper == LOCAL:
        return ""
    changes = [f"{key}={change.value} (recipe: {change.was})" for key, change in overrides.items()]
    if start is not None and from_file is not None:
        changes.append(f"started from {start.name}")
    return f"changed recipe: {', '.join(changes)}" if changes else ""


def _amount(rounds: PruneRounds) -> str:
    return "prune as set" if rounds.amount is None else f"prune {rounds.amount:g}"


def training_notes(recipe: Recipe, overrides: Overrides, start: Start | None) -> tuple[str, ...]:
    """Sentences about how a result was trained, in the order of the procedure."""
    notes = [f"trained {recipe.length} with {recipe.name}"] if recipe.length.count else []
    if recipe.prune:
        rounds = recipe.prune
        notes.append(f"{rounds.count} x ({_amount(rounds)}, fine-tune {rounds.finetune})")
        if rounds.recalibrate is not None:
            notes.append(recalibration_note(rounds.recalibrate))
    notes += changed_lengths(overrides)
    if start is not None:
        notes.append(f"started from {start.name} (sha256 {start.facts.sha256[:12]})")
    if recipe.validation_frac:
        share = f"{100 * recipe.validation_frac:g} %"
        notes.append(f"{share} of the training images, drawn by seed, held back: never trained on")
    if recipe.random_labels:
        said = "training images have labels drawn anew, by seed; the history has both accuracies"
        notes.append(f"{recipe.random_labels} {said}")
    if recipe.selects == "best":
        notes.append("the source prints its best epoch on the test set; here the last epoch counts")
    if world_size() > 1:
        notes.append(f"{world_size()} processes")
    if recipe.specified_by == "assumed":
        notes.append(f"assumed: {recipe.note}")
    return tuple(notes)
