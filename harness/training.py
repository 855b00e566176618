"""One entry trained from its recipe, seed by seed, to a result: the other half of the story."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

import methods
from harness import paths
from harness.checkpoints import load_into
from harness.cost import measure_cost
from harness.data.augment import Augment
from harness.data.datasets import find_pictures, load
from harness.data.evaluation import EvaluationBatches, evaluation_batches
from harness.data.known import STREAMED
from harness.data.training import FolderTrainBatches, TrainBatches
from harness.errors import ProtocolError
from harness.judge import Measured
from harness.protocols.distributed import processes, rank, world_size
from harness.protocols.evaluate import Evaluated, evaluate
from harness.protocols.prune import prune
from harness.protocols.seeds import seed_everything
from harness.protocols.state import RunFolder
from harness.protocols.train import Job, Speed, Trained, train
from harness.provenance import sha256_json
from harness.recipes import START_BASELINE, Override, Recipe
from harness.record import (
    EVALUATION_BATCH,
    Procedure,
    data_facts,
    input_shape,
    make_result,
    smoke_reason,
)
from harness.registry import LOCAL, Entry, Evaluation, Registry, evaluation_sha256, recipe_sha256
from harness.reproduce import Options, build_model, load_model
from harness.results import Counts, Protocol, Result, Run, save
from methods.base import Method
from methods.base import Settings as MethodSettings


@dataclass(frozen=True, slots=True)
class Training:
    """What the caller may choose about a training run, besides the recipe."""

    seeds: tuple[int, ...] = (0,)
    fresh: bool = False  # repeat finished seeds instead of reusing them
    evaluate_every: int = 1  # epochs
    save_every_s: float = 120.0
    speed: Speed = field(default_factory=Speed)
    overrides: tuple[Override, ...] = ()  # of the recipe, already applied; recorded


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that is the same for all seeds of one result."""

    entry: Entry
    registry: Registry
    recipe: Recipe
    evaluation: Evaluation
    settings: Mapping[str, object]
    options: Options
    training: Training
    test: EvaluationBatches


@dataclass(frozen=True, slots=True)
class _Seed:
    """One finished seed."""

    run: Run
    model: nn.Module
    predictions: np.ndarray


def reproduce_by_training(
    entry: Entry, registry: Registry, recipe: Recipe, options: Options, training: Training
) -> Result:
    """Train every seed of `entry` by `recipe`, judge the mean, save and return the result.

    Finished seeds are reused, interrupted ones continue. Under torchrun all processes train one
    model together and process 0 saves.
    Raises ProtocolError, DataError, CheckpointError, or Preempted after saving.
    """
    started = time.perf_counter()
    with processes(options.device) as device:
        options = replace(options, device=device)
        evaluation = registry.evaluations[entry.evaluation]
        test = evaluation_batches(
            evaluation, options.data_root, device, EVALUATION_BATCH, limit=options.limit
        )
        settings = {**recipe.settings, **entry.settings}
        plan = _Plan(entry, registry, recipe, evaluation, settings, options, training, test)
        seeds = [_one_seed(plan, seed) for seed in training.seeds]
        result = _result(plan, seeds, time.perf_counter() - started)
        if rank() == 0:
            save(result, seeds[0].predictions)
    return result


def make_method(name: str, settings: Mapping[str, object]) -> Method:
    """The method called `name` with checked settings. Raises ProtocolError naming the bad value."""
    try:
        kind = methods.get(name)
    except KeyError as error:
        raise ProtocolError(str(error.args[0])) from error
    try:
        return kind(kind.Settings(**dict(settings)))
    except ValidationError as error:
        raise ProtocolError(f"{name}: {_first_problem(error, kind.Settings)}") from error


def _first_problem(error: ValidationError, settings: type[MethodSettings]) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(settings.model_fields) or "none"
        return f"no setting is called {where!r}; settings: {known}"
    text = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {text} (got {problem['input']!r})" if where else text


def _one_seed(plan: _Plan, seed: int) -> _Seed:
    """Train one seed, or take it from its folder if it is finished."""
    folder = _run_folder(plan, seed)
    if plan.training.fresh and rank() == 0:
        folder.clear()
    done = folder.finished()
    model = None
    if done is None:
        trained = _train(plan, seed, folder)
        model = trained.model
        final = _evaluate(plan, model)
        run = _run(seed, trained, final)
        if rank() == 0:
            folder.finish(
                model.state_dict(),
                {"run": run.model_dump(mode="json"), "predictions": final.predictions.tolist()},
            )
        return _Seed(run, model, final.predictions)
    plan.options.progress.note(f"seed {seed}: finished before, reused (repeat with --fresh)")
    model = _build(plan)
    load_into(model, load_file(folder.weights), plan.entry.id)
    predictions = np.asarray(done["predictions"], dtype=np.uint16)
    return _Seed(Run.model_validate(done["run"]), model.eval(), predictions)


def _train(plan: _Plan, seed: int, folder: RunFolder) -> Trained:
    """Seed, build, load start weights, then the recipe's procedure."""
    seed_everything(seed)
    model = _build(plan)
    if plan.recipe.start is not None:
        _load_start(plan, model)
    method = make_method(plan.entry.method, plan.settings)
    batches = _train_batches(plan, seed)
    training = plan.training
    job = Job(
        model=model,
        method=method,
        recipe=plan.recipe,
        batches=batches,
        evaluate=lambda current: _evaluate(plan, current),
        folder=folder,
        seed=seed,
        device=plan.options.device,
        evaluate_every=training.evaluate_every,
        save_every_s=training.save_every_s,
        speed=training.speed,
        progress=plan.options.progress,
    )
    try:
        if plan.recipe.prune is None:
            return train(job)
        return prune(job, lambda: _calibration(plan, method, batches))
    except ValueError as error:  # a method refuses its settings for this model
        raise ProtocolError(f"{plan.entry.method} on {plan.entry.model}: {error}") from error


def _build(plan: _Plan) -> nn.Module:
    model = build_model(plan.entry)
    _INITS[plan.recipe.init](model)
    return model.to(plan.options.device)


def _kaiming(mode: str) -> Any:
    def initialise(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")

    return initialise


_INITS: dict[str, Any] = {
    "default": lambda model: None,
    "kaiming_fan_in": _kaiming("fan_in"),
    "kaiming_fan_out": _kaiming("fan_out"),
}


def _load_start(plan: _Plan, model: nn.Module) -> None:
    """Start weights: of the entry's baseline, or of the entry the recipe names."""
    entry, recipe = plan.entry, plan.recipe
    name = entry.baseline if recipe.start == START_BASELINE else recipe.start
    if name is None:
        msg = f"{entry.id}: recipe {recipe.name} starts from the baseline, but the entry names none"
        raise ProtocolError(msg)
    start, _ = load_model(plan.registry.get(name), replace(plan.options, from_file=None))
    load_into(model, start.state_dict(), entry.id)


def _train_batches(plan: _Plan, seed: int) -> TrainBatches | FolderTrainBatches:
    recipe, evaluation = plan.recipe, plan.evaluation
    wanted = recipe.augmentation
    common: dict[str, Any] = {
        "batch_size": recipe.batch,
        "mean": evaluation.mean,
        "std": evaluation.std,
        "seed": seed,
        "drop_last": recipe.drop_last,
        "channels": evaluation.channels,
        "scale": evaluation.scale,
        "device": plan.options.device,
        "rank": rank(),
        "world_size": world_size(),
    }
    root = plan.options.data_root
    if evaluation.dataset in STREAMED:
        return FolderTrainBatches(
            find_pictures(evaluation.dataset, "train", root),
            crop=wanted.random_resized_crop or evaluation.crop or 224,
            resize=None if wanted.random_resized_crop else evaluation.resize,
            flip=wanted.flip,
            interpolation=evaluation.interpolation,
            **common,
        )
    augment = Augment(
        crop_padding=wanted.crop_padding,
        flip=wanted.flip,
        cutout=wanted.cutout,
        rotation_degrees=wanted.rotation_degrees,
    )
    images = load(evaluation.dataset, "train", root, size=evaluation.resize)
    return TrainBatches(images, augment=augment, **common)


def _calibration(
    plan: _Plan, method: Method, batches: TrainBatches | FolderTrainBatches
) -> Tensor | None:
    """Images for methods that look at data while pruning."""
    return None


def _evaluate(plan: _Plan, model: nn.Module) -> Evaluated:
    return evaluate(model, plan.test)


def _run(seed: int, trained: Trained, final: Evaluated) -> Run:
    return Run(
        seed=seed,
        counts=final.counts,
        best_top1_pct=trained.best_top1_pct,
        best_epoch=trained.best_epoch,
        epochs=trained.epochs,
        steps=trained.steps,
        wall_s=trained.wall_s,
        history=trained.history,
    )


def _run_folder(plan: _Plan, seed: int) -> RunFolder:
    """runs/<entry>/<configuration>-seed<k>; the key hashes everything that moves a number."""
    key = sha256_json(
        {
            "model": plan.entry.model,
            "method": plan.entry.method,
            "settings": {k: str(v) for k, v in plan.settings.items()},
            "recipe": recipe_sha256(plan.recipe),
            "evaluation": evaluation_sha256(plan.evaluation),
            "data": plan.test.fingerprint,
            "limit": plan.options.limit,
            "baseline": plan.entry.baseline if plan.recipe.start else None,
            "speed": asdict(plan.training.speed),
            "seed": seed,
        }
    )
    path: Path = paths.runs_folder() / plan.entry.id / f"{key[:12]}-seed{seed}"
    return RunFolder(path, key)


def _result(plan: _Plan, seeds: list[_Seed], wall_s: float) -> Result:
    """Mean over seeds, cost of the first seed's network, and the verdict."""
    entry, evaluation = plan.entry, plan.evaluation
    convention = plan.registry.convention_of(entry)
    first = seeds[0]
    counts = [seed.run.counts for seed in seeds]
    measured = Measured(
        counts=first.run.counts,
        cost=measure_cost(first.model, input_shape(evaluation), convention, entry.prunable_exclude),
        n_total=plan.test.n_total,
        approximate_images=plan.test.approximate_images,
        per_seed_pct=_per_seed(counts),
        smoke=smoke_reason(evaluation, plan.test) or _changed_schedule(plan),
    )
    procedure = Procedure(
        mode="trained" if plan.recipe.prune is None else "pruned",
        recipe=Protocol(
            name=plan.recipe.name,
            version=plan.recipe.version,
            sha256=recipe_sha256(plan.recipe),
        ),
        settings=plan.settings,
        overrides={
            change.key: f"{change.value} (was {change.was}, {change.source})"
            for change in plan.training.overrides
        },
        runs=tuple(seed.run for seed in seeds),
        precision=_precision(plan),
        notes=_notes(plan),
    )
    data = data_facts(evaluation, plan.test)
    return make_result(entry, evaluation, data, measured, procedure, plan.options.device, wall_s)


def _per_seed(counts: list[Counts]) -> dict[str, list[float]]:
    return {
        "top1_pct": [c.top1_pct for c in counts],
        "top3_pct": [c.top3_pct for c in counts],
        "top5_pct": [c.top5_pct for c in counts],
    }


def _changed_schedule(plan: _Plan) -> str:
    """A changed recipe cannot confirm or refute a paper; a user's own run is what it is."""
    if plan.entry.paper == LOCAL or not plan.training.overrides:
        return ""
    changes = ", ".join(
        f"{change.key}={change.value} (recipe: {change.was})" for change in plan.training.overrides
    )
    return f"changed recipe: {changes}"


def _precision(plan: _Plan) -> str:
    speed = plan.training.speed
    extras = [name for name, on in asdict(speed).items() if on]
    return "+".join(
        [{"fp32": "float32"}.get(plan.recipe.precision, plan.recipe.precision), *extras]
    )


def _notes(plan: _Plan) -> tuple[str, ...]:
    recipe = plan.recipe
    notes = [f"trained {recipe.length} with {recipe.name}"] if recipe.length.count else []
    if recipe.prune:
        rounds = recipe.prune
        notes.append(f"{rounds.count} x (prune {rounds.amount:g}, fine-tune {rounds.finetune})")
    if recipe.specified_by == "assumed":
        notes.append(f"assumed: {recipe.note}")
    return tuple(notes)
