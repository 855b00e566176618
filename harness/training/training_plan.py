"""What all seeds of one training run share, and the networks it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from harness import paths
from harness.checkpoints import build_model, load_into
from harness.data import EvaluationBatches
from harness.models import source_sha256
from harness.registry import (
    Entry,
    Evaluation,
    Overrides,
    Recipe,
    Registry,
    evaluation_sha256,
    make_method,
    plain,
    recipe_sha256,
    without_choices,
)
from harness.system import Options, SharedStore, sha256_json, world_size
from harness.training.network_speed import Speed
from harness.training.run_folder import RunFolder, folder_name
from harness.training.start_weights import Start, initialise
from methods.base import Schedule


@dataclass(frozen=True, slots=True)
class FirstTraining:
    """A training that comes before another one, seed by seed: a dense network that is pruned."""

    entry: Entry
    recipe: Recipe  # the overrides applied already
    overrides: Overrides = field(default_factory=dict)  # recorded


@dataclass(frozen=True, slots=True)
class Training:
    """What the caller may choose about a training run, besides the recipe."""

    seeds: tuple[int, ...] = (0,)
    fresh: bool = False  # repeat finished seeds instead of reusing them
    evaluate_every: int = 1  # epochs
    save_every_s: float = 120.0
    speed: Speed = field(default_factory=Speed)
    overrides: Overrides = field(default_factory=dict)  # of the recipe, applied already; recorded
    first: FirstTraining | None = None  # whose seed k gives the start weights of seed k


@dataclass(frozen=True, slots=True)
class TrainingPlan:
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


def run_folder(plan: TrainingPlan, seed: int) -> RunFolder:
    """runs/<entry>/<configuration>-seed<k>; the key hashes everything that moves the training."""
    recipe, settings = without_choices(plan.entry.method, plan.recipe, plan.settings)
    source = source_sha256(plan.entry.model)
    key = sha256_json(
        {
            **(
                {"source": source} if source else {}
            ),  # code of one's own: another file, another run
            "model": plan.entry.model,
            "method": plan.entry.method,
            "settings": {k: str(v) for k, v in settings.items()},
            "recipe": recipe_sha256(recipe),
            "evaluation": evaluation_sha256(plan.evaluation),
            "data": plan.test.identity.fingerprint,
            "limit": plan.options.limit,
            "start": plan.start.facts.sha256 if plan.start else None,
            "speed": plain(plan.training.speed, hashed=True),
            "device": torch.device(plan.options.device).type,
            "processes": world_size(),
            "seed": seed,
        }
    )
    path: Path = paths.runs_folder() / plan.entry.id / folder_name(key, seed)
    store = SharedStore(plan.options.store) if plan.options.store else None
    return RunFolder(path, key, store)


def build(plan: TrainingPlan) -> nn.Module:
    """The network with its start weights, on the device."""
    model = built(plan.entry, plan.evaluation, plan.recipe, plan.start)
    return model.to(plan.options.device)


def built(entry: Entry, evaluation: Evaluation, recipe: Recipe, start: Start | None) -> nn.Module:
    """The entry's network as a run of `recipe` begins with it, on the CPU."""
    model = build_model(entry, evaluation)
    initialise(model, recipe.init)
    if start is not None:
        load_into(model, start.tensors, entry.id)
    return model


def schedule_of(recipe: Recipe, steps_per_epoch: int, seed: int) -> Schedule:
    """What a run of `recipe` attaches its method with: no epochs where rounds prune afterwards."""
    epochs = 0 if recipe.prune else recipe.length.to_epochs(steps_per_epoch)
    return Schedule(epochs, steps_per_epoch, seed)


def rebuilt(plan: TrainingPlan, seed: int, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network with the weights of a finished run, or of its best epoch.

    A dynamic one has the parts that its method adds.
    """
    model = build(plan)
    method = make_method(plan.entry.method, plan.settings)
    if method.kind == "dynamic":
        method.attach(model, schedule_of(plan.recipe, 1, seed))
        model = method.finalize(model)
    load_into(model, tensors, plan.entry.id)
    return model.eval()
