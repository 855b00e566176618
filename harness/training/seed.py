"""One seed: trained to its end, continued, or taken from its folder where it is finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from harness.evaluation import Evaluated, evaluate, recalibrate_
from harness.profile import figures_of, latency_of
from harness.registry import final_choices, from_mapping, input_shape, make_method, plain
from harness.results import Figures, Latency, Run, latency_as_today
from harness.system import rank, wait_for_all
from harness.training.generators import seed_everything
from harness.training.loop import Trained, TrainingTask, train
from harness.training.rounds import gains, prune
from harness.training.run_folder import RunFolder, RunOrigin, opened
from harness.training.run_progress import followed
from harness.training.training_plan import TrainingPlan, build, rebuilt, run_folder, schedule_of
from harness.training.training_split import calibration_images, train_batches, watched_batches
from methods.base import Method


@dataclass(frozen=True, slots=True)
class Seed:
    """One finished seed."""

    run: Run
    model: nn.Module
    predictions: np.ndarray
    figures: Figures
    latency: Latency | None
    folder: RunFolder


def one_seed(plan: TrainingPlan, seed: int) -> Seed:
    """Train one seed, or take it from its folder if it is finished; nobody else does meanwhile."""
    with opened(run_folder(plan, seed), fresh=plan.training.fresh) as folder:
        done = folder.finished()
        if done is None:
            return _trained(followed(plan, seed, folder), seed, folder)
        plan.options.progress.note(f"seed {seed}: finished before, reused (repeat with --fresh)")
        return _reused(plan, seed, folder, done)


def _trained(plan: TrainingPlan, seed: int, folder: RunFolder) -> Seed:
    """One seed trained to its end, measured and written down."""
    method = make_method(plan.entry.method, plan.settings)
    trained = _train(plan, seed, folder, method)
    final = evaluate(trained.model, plan.test)
    figures, best, latency = Figures(), Figures(), None
    if rank() == 0:
        figures = figures_of(method, trained.model, plan.test)
        figures = replace(figures, values={**figures.values, **gains(trained.history)})
        if method.kind == "dynamic" and folder.best.exists():
            kept = rebuilt(plan, seed, folder.read_weights(folder.best))
            best = figures_of(method, kept, plan.test)
        latency = latency_of(method, trained.model, plan.test)
    wait_for_all()
    run = _run(folder.key, seed, trained, final, figures, best)
    finished = Seed(run, trained.model, final.predictions, figures, latency, folder)
    if rank() == 0:
        if method.final_choices:
            folder.keep_end()
        facts = {"choices": final_choices(method), "origin": _origin(plan), **_facts(finished)}
        folder.finish(trained.model.state_dict(), final.predictions, facts)
    return finished


def _origin(plan: TrainingPlan) -> object:
    entry = plan.entry
    return plain(
        RunOrigin(
            entry=entry.id,
            model=entry.model,
            dataset=entry.dataset,
            method=entry.method,
            settings=plan.settings,
            input_shape=input_shape(plan.evaluation),
        )
    )


def _facts(seed: Seed) -> dict[str, object]:
    """What a finished seed leaves beside its weights; inverse of `_reused`."""
    return {
        "run": plain(seed.run),
        "figures": plain(seed.figures),
        "latency": plain(seed.latency),
    }


def _reused(plan: TrainingPlan, seed: int, folder: RunFolder, done: Mapping[str, Any]) -> Seed:
    """A seed that was finished before."""
    method = make_method(plan.entry.method, plan.settings)
    if done.get("choices", {}) != final_choices(method):
        return _handed_over(plan, seed, folder, done, method)
    with folder.restoring("done.json"):
        run = from_mapping(Run, done["run"])
        figures = from_mapping(Figures, done.get("figures", {}))
        latency = done.get("latency")
        timed = from_mapping(Latency, latency_as_today(latency)) if latency else None
    model = rebuilt(plan, seed, folder.read_weights(folder.weights))
    return Seed(run, model, folder.predictions(done), figures, timed, folder)


def _handed_over(
    plan: TrainingPlan, seed: int, folder: RunFolder, done: Mapping[str, Any], method: Method
) -> Seed:
    """Another final network of a finished run, measured anew; the training is the same."""
    model = build(plan)
    method.attach(model, schedule_of(plan.recipe, 1, seed))
    end = folder.load_end()
    with folder.restoring("end.pt"):
        model.load_state_dict(end["model"])
        method.load_state_dict(end["method"])
        run = from_mapping(Run, done["run"])
    model = method.finalize(model).eval()
    final = evaluate(model, plan.test)
    figures = figures_of(method, model, plan.test)
    run = replace(run, counts=final.counts, figures=figures.values)
    latency = latency_of(method, model, plan.test)
    return Seed(run, model, final.predictions, figures, latency, folder)


def _train(plan: TrainingPlan, seed: int, folder: RunFolder, method: Method) -> Trained:
    """Seed, build, load start weights, then the recipe's procedure."""
    seed_everything(seed)
    model = build(plan)
    options, training = plan.options, plan.training
    inputs = (plan.evaluation, options.data_root, options.device, seed)
    watched = watched_batches(plan.recipe, *inputs)
    job = TrainingTask(
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
        watched={name: partial(evaluate, batches=part) for name, part in watched.items()},
    )
    if plan.recipe.prune is None:
        return train(job)
    return prune(
        job,
        lambda: calibration_images(method, *inputs),
        lambda pruned, count: recalibrate_(pruned, count, *inputs[:3]),
    )


def _run(
    key: str, seed: int, trained: Trained, final: Evaluated, figures: Figures, best: Figures
) -> Run:
    return Run(
        key=key,
        seed=seed,
        counts=final.counts,
        best_top1_pct=trained.best_top1_pct,
        best_epoch=trained.best_epoch,
        epochs=trained.epochs,
        steps=trained.steps,
        wall_s=trained.wall_s,
        cpu_s=trained.cpu_s,
        history=trained.history,
        figures=figures.values,
        best_figures=best.values,
    )
