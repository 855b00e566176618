"""One entry trained from its recipe, seed by seed, to a result: the other half of the story."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from harness import paths
from harness.checkpoints import load_into
from harness.chosen_method import final_choices, make_method, merged_settings, without_choices
from harness.cost import measure_cost
from harness.data.evaluation import EvaluationBatches, evaluation_batches
from harness.errors import ProtocolError
from harness.figures import figures_of, latency_of
from harness.judge import Measured
from harness.progress import Silent
from harness.protocols.distributed import processes, rank, wait_for_all, world_size
from harness.protocols.evaluate import Evaluated, evaluate
from harness.protocols.prune import prune
from harness.protocols.run_lock import opened
from harness.protocols.seeds import seed_everything
from harness.protocols.signals import obeyed
from harness.protocols.state import RunFolder
from harness.protocols.train import Job, Speed, Trained, train
from harness.provenance import sha256_json
from harness.recipes import Override, Recipe
from harness.record import (
    EVALUATION_BATCH,
    Procedure,
    data_facts,
    input_shape,
    make_result,
    smoke_reason,
)
from harness.registry import Entry, Evaluation, Registry, evaluation_sha256, recipe_sha256
from harness.reports.plots import density_plot
from harness.reproduction import Options, build_model
from harness.results import (
    Figures,
    Latency,
    Protocol,
    Result,
    Run,
    load_all,
    predictions_sha256,
    save,
)
from harness.start_weights import Start, initialise, start_of
from harness.training_data import calibration_images, train_batches
from harness.training_notes import changed_schedule, training_notes
from methods.base import Method, Schedule


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
    start: Start | None


@dataclass(frozen=True, slots=True)
class _Seed:
    """One finished seed."""

    run: Run
    model: nn.Module
    predictions: np.ndarray
    figures: Figures
    latency: Latency | None


def reproduce_by_training(
    entry: Entry, registry: Registry, recipe: Recipe, options: Options, training: Training
) -> Result:
    """Train every seed of `entry` by `recipe`, judge the mean, save and return the result.

    Finished seeds are reused, interrupted ones continue. Under torchrun all processes train one
    model together and process 0 reports and saves.
    Raises ProtocolError, DataError, CheckpointError, or Preempted after SIGTERM or Ctrl-C.
    """
    started = time.perf_counter()
    make_method(entry.method, merged_settings(entry, recipe, training.overrides))
    with processes(options.device) as device, obeyed():
        progress = Silent() if rank() else options.progress
        options = replace(options, device=device, progress=progress)
        plan = _plan(entry, registry, recipe, options, training)
        seeds = [_one_seed(plan, seed) for seed in training.seeds]
        result = _result(plan, seeds, time.perf_counter() - started)
        if rank() == 0:
            file = save(result, seeds[0].predictions)
            density_plot(result, file.with_suffix(".png"))
    return result


def _plan(
    entry: Entry, registry: Registry, recipe: Recipe, options: Options, training: Training
) -> _Plan:
    """Start weights, trained first where that is needed, and the evaluation images."""
    evaluation = registry.evaluations[entry.evaluation]

    def train_first(source: Entry) -> Path:
        return _weights_of(source, registry, options, training)

    start = start_of(entry, recipe, registry, options, train_first)
    test = evaluation_batches(
        evaluation, options.data_root, options.device, EVALUATION_BATCH, limit=options.limit
    )
    settings = merged_settings(entry, recipe, training.overrides)
    return _Plan(entry, registry, recipe, evaluation, settings, options, training, test, start)


def _weights_of(entry: Entry, registry: Registry, options: Options, training: Training) -> Path:
    """Weights of `entry` trained by its own recipe with seed 0: a run and a result of its own.

    The epoch that the recipe selects. Finished runs are reused, also under --fresh.
    """
    assert entry.recipe is not None  # trained_first
    recipe = registry.recipes[entry.recipe]
    alone = replace(training, seeds=(0,), overrides=(), fresh=False)
    options.progress.note(f"{entry.id} comes first: {recipe.length} with {recipe.name}")
    plan = _plan(entry, registry, recipe, options, alone)
    folder = _run_folder(plan, 0).or_finished_twin()
    if folder.finished() is None or not _on_record(plan):
        reproduce_by_training(entry, registry, recipe, options, alone)
        wait_for_all()  # the first process has written by then
    return folder.best if recipe.selects == "best" else folder.weights


def _on_record(plan: _Plan) -> bool:
    """Whether a result of this entry by this recipe was saved: a run may be killed just before."""
    wanted = recipe_sha256(plan.recipe)
    stored = load_all(entry=plan.entry.id)
    return any(result.recipe and result.recipe.sha256 == wanted for result in stored)


def _one_seed(plan: _Plan, seed: int) -> _Seed:
    """Train one seed, or take it from its folder if it is finished; nobody else does meanwhile."""
    with opened(_run_folder(plan, seed), fresh=plan.training.fresh) as folder:
        done = folder.finished()
        if done is None:
            return _trained(plan, seed, folder)
        plan.options.progress.note(f"seed {seed}: finished before, reused (repeat with --fresh)")
        return _reused(plan, seed, folder, done)


def _trained(plan: _Plan, seed: int, folder: RunFolder) -> _Seed:
    """One seed trained to its end, measured and written down."""
    method = make_method(plan.entry.method, plan.settings)
    trained = _train(plan, seed, folder, method)
    final = evaluate(trained.model, plan.test)
    figures, best, latency = Figures(), Figures(), None
    if rank() == 0:
        figures = figures_of(method, trained.model, plan.test)
        if method.kind == "dynamic" and folder.best.exists():
            kept = _rebuilt(plan, seed, folder.best)
            best = figures_of(method, kept, plan.test)
        latency = latency_of(method, trained.model, plan.test)
    wait_for_all()
    run = _run(seed, trained, final, figures, best)
    finished = _Seed(run, trained.model, final.predictions, figures, latency)
    if rank() == 0:
        if method.final_choices:
            folder.keep_end()
        facts = {"choices": final_choices(method), "origin": _origin(plan), **_facts(finished)}
        folder.finish(trained.model.state_dict(), facts)
    return finished


def _origin(plan: _Plan) -> dict[str, object]:
    """What rebuilds the network and its method without the command that trained them."""
    entry = plan.entry
    return {
        "entry": entry.id,
        "model": entry.model,
        "dataset": entry.dataset,
        "method": entry.method,
        "settings": dict(plan.settings),
        "input_shape": input_shape(plan.evaluation),
    }


def _facts(seed: _Seed) -> dict[str, object]:
    """What a finished seed leaves beside its weights; inverse of `_reused`."""
    return {
        "run": seed.run.model_dump(mode="json"),
        "predictions": seed.predictions.tolist(),
        "figures": seed.figures.model_dump(mode="json"),
        "latency": seed.latency.model_dump(mode="json") if seed.latency else None,
    }


def _reused(plan: _Plan, seed: int, folder: RunFolder, done: Mapping[str, Any]) -> _Seed:
    """A seed that was finished before."""
    method = make_method(plan.entry.method, plan.settings)
    if done.get("choices", {}) != final_choices(method):
        return _handed_over(plan, seed, folder, done, method)
    latency = done.get("latency")
    return _Seed(
        Run.model_validate(done["run"]),
        _rebuilt(plan, seed, folder.weights),
        np.asarray(done["predictions"], dtype=np.uint16),
        Figures.model_validate(done.get("figures", {})),
        Latency.model_validate(latency) if latency else None,
    )


def _handed_over(
    plan: _Plan, seed: int, folder: RunFolder, done: Mapping[str, Any], method: Method
) -> _Seed:
    """Another final network of a finished run, measured anew; the training is the same."""
    model = _build(plan)
    method.attach(model, Schedule(plan.recipe.length.to_epochs(1), 1, seed))
    end = folder.load_end()
    model.load_state_dict(end["model"])
    method.load_state_dict(end["method"])
    model = method.finalize(model).eval()
    final = evaluate(model, plan.test)
    figures = figures_of(method, model, plan.test)
    changed = {"counts": final.counts, "figures": figures.values}
    run = Run.model_validate(done["run"]).model_copy(update=changed)
    latency = latency_of(method, model, plan.test)
    return _Seed(run, model, final.predictions, figures, latency)


def _train(plan: _Plan, seed: int, folder: RunFolder, method: Method) -> Trained:
    """Seed, build, load start weights, then the recipe's procedure."""
    seed_everything(seed)
    model = _build(plan)
    options, training = plan.options, plan.training
    inputs = (plan.evaluation, options.data_root, options.device, seed)
    job = Job(
        model=model,
        method=method,
        recipe=plan.recipe,
        batches=train_batches(plan.recipe, *inputs),
        evaluate=lambda current: evaluate(current, plan.test),
        folder=folder,
        seed=seed,
        device=options.device,
        evaluate_every=training.evaluate_every,
        save_every_s=training.save_every_s,
        speed=training.speed,
        progress=options.progress,
    )
    try:
        if plan.recipe.prune is None:
            return train(job)
        return prune(job, lambda: calibration_images(method, *inputs))
    except ValueError as error:  # a method refuses its settings for this model
        raise ProtocolError(f"{plan.entry.method} on {plan.entry.model}: {error}") from error


def _build(plan: _Plan) -> nn.Module:
    """The network with its start weights, on the device."""
    model = build_model(plan.entry, plan.evaluation)
    initialise(model, plan.recipe.init)
    if plan.start is not None:
        load_into(model, plan.start.tensors, plan.entry.id)
    return model.to(plan.options.device)


def _rebuilt(plan: _Plan, seed: int, weights: Path) -> nn.Module:
    """The network of a finished run, or of its best epoch.

    A dynamic one has the parts that its method adds.
    """
    model = _build(plan)
    method = make_method(plan.entry.method, plan.settings)
    if method.kind == "dynamic":
        method.attach(model, Schedule(plan.recipe.length.to_epochs(1), 1, seed))
        model = method.finalize(model)
    load_into(model, load_file(weights), plan.entry.id)
    return model.eval()


def _run(seed: int, trained: Trained, final: Evaluated, figures: Figures, best: Figures) -> Run:
    return Run(
        seed=seed,
        counts=final.counts,
        best_top1_pct=trained.best_top1_pct,
        best_epoch=trained.best_epoch,
        epochs=trained.epochs,
        steps=trained.steps,
        wall_s=trained.wall_s,
        history=trained.history,
        figures=figures.values,
        best_figures=best.values,
    )


def _run_folder(plan: _Plan, seed: int) -> RunFolder:
    """runs/<entry>/<configuration>-seed<k>; the key hashes everything that moves the training."""
    recipe, settings = without_choices(plan.entry.method, plan.recipe, plan.settings)
    key = sha256_json(
        {
            "model": plan.entry.model,
            "method": plan.entry.method,
            "settings": {k: str(v) for k, v in settings.items()},
            "recipe": recipe_sha256(recipe),
            "evaluation": evaluation_sha256(plan.evaluation),
            "data": plan.test.fingerprint,
            "limit": plan.options.limit,
            "start": plan.start.facts.sha256 if plan.start else None,
            "speed": asdict(plan.training.speed),
            "device": torch.device(plan.options.device).type,
            "processes": world_size(),
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
    cost = measure_cost(
        first.model, input_shape(evaluation), convention, entry.prunable_exclude, first.figures
    )
    measured = Measured(
        counts=first.run.counts,
        cost=cost,
        n_total=plan.test.n_total,
        approximate_images=plan.test.approximate_images,
        per_seed_pct=_per_seed([seed.run for seed in seeds]),
        smoke=smoke_reason(evaluation, plan.test)
        or changed_schedule(entry, plan.training.overrides, plan.start, plan.options.from_file),
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
        checkpoint=plan.start.facts if plan.start else None,
        runs=tuple(seed.run for seed in seeds),
        predictions_sha256=predictions_sha256(first.predictions),
        precision=_precision(plan),
        notes=training_notes(plan.recipe, plan.training.overrides, plan.start),
    )
    data = data_facts(evaluation, plan.test)
    return make_result(
        entry, evaluation, data, measured, procedure, plan.options.device, wall_s, first.latency
    )


def _per_seed(runs: list[Run]) -> dict[str, list[float]]:
    """Metric -> one value per seed: accuracies, and every figure of the method."""
    counts = [run.counts for run in runs]
    return {
        "top1_pct": [c.top1_pct for c in counts],
        "top3_pct": [c.top3_pct for c in counts],
        "top5_pct": [c.top5_pct for c in counts],
        **{name: [run.figures[name] for run in runs] for name in runs[0].figures},
    }


def _precision(plan: _Plan) -> str:
    speed = plan.training.speed
    extras = [name for name, on in asdict(speed).items() if on]
    return "+".join(
        [{"fp32": "float32"}.get(plan.recipe.precision, plan.recipe.precision), *extras]
    )
