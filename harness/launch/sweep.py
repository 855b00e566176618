"""A sweep: a grid of trainings as cells, each one result over its seeds, and all their jobs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import methods
from harness.errors import ProtocolError, SettingsError
from harness.evaluation import Listener
from harness.launch.cells import Context, first_of, training_jobs
from harness.launch.grid import LEVEL, Grid, GridPoint
from harness.launch.jobs import Job
from harness.launch.launching import Launch, launched, result_of
from harness.launch.queue import Watching
from harness.launch.queue_folder import QueueFolder, require_name
from harness.models import fitted_entry
from harness.registry import (
    Entry,
    Overrides,
    Recipe,
    Registry,
    local_pruning,
    local_training,
    make_method,
    merged_settings,
    plain,
    standard_protocol,
)
from harness.results import Result, sample_std
from harness.system import Options, sha256_json
from harness.training import FirstTraining, Training, TrainingRequest
from methods.base import Method

# Of a recipe: what says how long a training is, and so belongs to the dense one alone.
_LENGTH = ("epochs", "steps", "length")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What the user says about a sweep besides the grid and the surroundings."""

    grid: Grid
    training: Training  # without seeds and overrides
    recipe: str | None = None
    evaluation: str | None = None
    start: str | None = None  # entry whose weights pruning starts from; None: a dense training
    finetune: str | None = None  # after pruning; None: as the data set's recipe says
    rounds: int = 1
    name: str | None = None


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One point of the grid, what is trained there, and the key of its result's job."""

    point: GridPoint
    request: TrainingRequest
    jobs: tuple[Job, ...]

    @property
    def result_key(self) -> str:
        return self.jobs[-1].key


@dataclass(frozen=True, slots=True)
class SweepRow:
    """What became of a cell. result: None where it failed, with the reason."""

    cell: SweepCell
    result: Result | None
    reason: str = ""

    def as_plain(self) -> dict[str, Any]:
        """JSON-ready; mean and sample standard deviation over the seeds, None for one seed."""
        point, result = self.cell.point, self.result
        found: dict[str, Any] = {
            "entry": self.cell.request.entry.id,
            "method": point.method,
            "model": point.model,
            "dataset": point.dataset,
            "changes": dict(point.changes),
            "state": "failed" if result is None else "done",
            "reason": self.reason,
        }
        if result is None:
            return found
        top1 = [run.counts.top1_pct for run in result.runs]
        return found | {
            "result_id": result.result_id,
            "seeds": [run.seed for run in result.runs],
            "top1_pct": top1,
            "top1_pct_mean": sum(top1) / len(top1),
            "top1_pct_std": sample_std(top1),
            "sparsity_pct": result.cost.sparsity_pct,
            "macs_effective": result.cost.macs_effective,
            "macs_dense": result.cost.macs_dense,
            "smoke": result.smoke,
        }


@dataclass(frozen=True, slots=True)
class Sweep:
    """A named set of cells. Cells share jobs: a dense training serves all levels of its seed."""

    name: str
    cells: tuple[SweepCell, ...]

    @property
    def jobs(self) -> list[Job]:
        """Every job once, in an order in which nothing waits for what comes later."""
        return list({job.key: job for cell in self.cells for job in cell.jobs}.values())


def run_sweep(
    sweep: Sweep, launch: Launch, watching: Watching, on_result: Listener | None = None
) -> list[SweepRow]:
    """Every cell to its result, or to the reason why there is none; what is done is not repeated.

    Raises Preempted after SIGTERM or Ctrl-C; the same call goes on.
    """
    about = {"kind": "sweep", "cells": {c.request.entry.id: c.result_key for c in sweep.cells}}
    queue = QueueFolder(sweep.name)
    queue.uncancel()
    coming = launched(queue, sweep.jobs, about, launch, watching, on_result)
    endings = {job.key: ending for job, ending in coming}
    rows = []
    for cell in sweep.cells:
        ending = endings[cell.result_key]
        rows.append(SweepRow(cell, result_of(ending), ending.reason))
    return rows


def plan_sweep(plan: SweepPlan, options: Options, context: Context) -> Sweep:
    """The cells of a sweep. Raises ProtocolError or SettingsError before anything runs."""
    if plan.name is not None:
        require_name(plan.name)
    points = plan.grid.points()
    requests = [_request(point, plan, options, context.registry) for point in points]
    dense = [first_of(request) for request in requests if request.training.first is not None]
    seen = {request.entry.id for request in requests}
    for request in dense:
        if request.entry.id not in seen:
            seen.add(request.entry.id)
            point = GridPoint("dense", request.entry.model, request.entry.dataset)
            points.insert(0, point)
            requests.insert(0, request)
    cells = [
        SweepCell(point, request, tuple(training_jobs(request, context)))
        for point, request in zip(points, requests, strict=True)
    ]
    _refuse_twins(cells)
    name = plan.name or f"sweep-{sha256_json(plain(replace(plan.grid, seeds=())))[:8]}"
    return Sweep(name, tuple(cells))


def _request(
    point: GridPoint, plan: SweepPlan, options: Options, registry: Registry
) -> TrainingRequest:
    planner = _pruning if _is_one_shot(point.method) else _training
    entry, recipe, changed, first = planner(point, plan, registry)
    training = replace(plan.training, seeds=plan.grid.seeds, overrides=changed, first=first)
    _check(entry, recipe, changed)
    return TrainingRequest(entry, recipe, options, training)


Planned = tuple[Entry, Recipe, Overrides, FirstTraining | None]


def _training(point: GridPoint, plan: SweepPlan, registry: Registry) -> Planned:
    entry, recipe, changed = local_training(
        registry,
        method=point.method,
        model=point.model,
        dataset=point.dataset,
        recipe_name=plan.recipe,
        evaluation=plan.evaluation,
        name=_name(point),
        overrides=point.changes,
    )
    return fitted_entry(entry, registry.evaluations[entry.evaluation]), recipe, changed, None


def _pruning(point: GridPoint, plan: SweepPlan, registry: Registry) -> Planned:
    """One-shot methods prune a network that is there, or a dense training of the same seed."""
    level = point.changes.get(LEVEL)
    if not isinstance(level, float) or not 0 < level < 1:
        raise SettingsError(
            f"{point.method} prunes a trained network and needs levels between 0 and 1: "
            f"--set {LEVEL}=0.5,0.8,0.9 or --levels paper"
        )
    first = None if plan.start else _dense_first(point, plan, registry)
    standard = registry.recipes[standard_protocol(registry, point.dataset).finetune].prune
    own = {key: v for key, v in point.changes.items() if key not in (*_LENGTH, LEVEL)}
    entry, recipe, changed = local_pruning(
        registry,
        method=point.method,
        model=point.model,
        dataset=point.dataset,
        start=plan.start,
        target=level,
        rounds=plan.rounds,
        finetune=plan.finetune or (str(plain(standard.finetune)) if standard else "0ep"),
        evaluation=plan.evaluation,
        name=_name(point),
        overrides=own,
    )
    return fitted_entry(entry, registry.evaluations[entry.evaluation]), recipe, changed, first


def _dense_first(point: GridPoint, plan: SweepPlan, registry: Registry) -> FirstTraining:
    shared = {k: v for k, v in point.changes.items() if not k.startswith("settings.")}
    varied = tuple(key for key in point.varied if key in shared)
    dense = GridPoint("dense", point.model, point.dataset, shared, varied)
    entry, recipe, changed, _ = _training(dense, plan, registry)
    return FirstTraining(entry, recipe, changed)


def _name(point: GridPoint) -> str:
    parts = ["local", point.method, point.model, point.dataset, point.label]
    return "-".join(part for part in parts if part)


def _is_one_shot(method: str) -> bool:
    """Whether the method prunes a network that is trained already. Raises ProtocolError."""
    try:
        return methods.get(method).prune is not Method.prune
    except KeyError as error:
        raise ProtocolError(str(error.args[0])) from error


def _check(entry: Entry, recipe: Recipe, changed: Overrides) -> None:
    """Refuse settings that the method does not have or take, with the way to give it its own."""
    try:
        make_method(entry.method, merged_settings(entry, recipe, changed))
    except SettingsError as error:
        if "no setting is called" not in str(error):
            raise
        raise SettingsError(
            f"{error}. Values for one method alone: --set {entry.method}:settings.NAME=V1,V2"
        ) from error


def _refuse_twins(cells: Iterable[SweepCell]) -> None:
    seen: dict[str, Mapping[str, object]] = {}
    for cell in cells:
        if cell.request.entry.id in seen:
            msg = f"two cells of the grid would both be called {cell.request.entry.id}"
            raise ProtocolError(f"{msg}. Sweep them apart, each under its own --name")
        seen[cell.request.entry.id] = cell.point.changes
