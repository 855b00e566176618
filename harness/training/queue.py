"""Trainings that wait for their turn: which are on record, and about what the others cost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from harness.evaluation import dense_cost
from harness.registry import Entry, Overrides, Recipe, Registry, data_set, recipe_sha256
from harness.results import Result, load_all

PASSES = 3  # forward, gradients of activations, gradients of weights: one count of products each
LEAST_MACS = 10**7  # of one image; below, what is around the products takes the time


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What the training of an entry amounts to, all seeds together.

    images: seen in training. macs: multiply-accumulates, 0 where nobody counts the network's.
    hours: estimated from trainings on record; None where there is none to go by.
    """

    images: int
    macs: int
    hours: float | None

    @property
    def sentence(self) -> str:
        """In words, for a line of progress."""
        seen = f"{self.images:,} training images"
        if self.hours is None:
            return seen
        about = f"{self.hours:.2g} h" if self.hours < 100 else f"{self.hours:.0f} h"
        return f"{seen}, about {about} on a CPU like those of the trainings on record"


def training_cost(entry: Entry, registry: Registry, recipe: Recipe, seeds: int) -> TrainingCost:
    """What `seeds` trainings of `entry` by `recipe` cost; a baseline that comes first is not in."""
    images = seeds * training_images(entry, recipe)
    cost = dense_cost(entry, registry)
    macs = PASSES * images * (cost.macs_dense if cost else 0)
    rate = _macs_per_second(load_all(layers=False))
    return TrainingCost(images, macs, macs / rate / 3600 if rate and macs else None)


def queued_result(entry: Entry, recipe: Recipe, overrides: Overrides, seeds: int) -> Result | None:
    """The newest result on record of `entry` trained by `recipe` with at least `seeds` seeds."""
    wanted = recipe_sha256(recipe)
    found = [
        result
        for result in load_all(entry=entry.id)
        if result.recipe is not None
        and result.recipe.sha256 == wanted
        and len(result.runs) >= seeds
        and set(result.overrides) == set(overrides)
    ]
    return max(found, key=lambda result: result.result_id, default=None)


def training_images(entry: Entry, recipe: Recipe) -> int:
    """Training images that one run sees, fine-tuning after every round included."""
    here = recipe.train_images or data_set(entry.dataset).images.get("train", 0)
    here = round(here * (1 - recipe.validation_frac))
    per_epoch = here // recipe.batch if recipe.drop_last else math.ceil(here / recipe.batch)
    if not per_epoch:
        return 0
    return round(recipe.steps(per_epoch) * here / per_epoch)


def _macs_per_second(stored: Iterable[Result]) -> float | None:
    """Multiply-accumulates per second of trainings on record: their median."""
    rates = []
    for result in stored:
        if not result.runs or result.cost.macs_dense < LEAST_MACS:
            continue
        run, images = result.runs[0], data_set(result.dataset).images.get("train", 0)
        seconds = run.cpu_s or run.wall_s
        if seconds and run.epochs and result.hardware.get("device", "cpu") == "cpu":
            rates.append(PASSES * run.epochs * images * result.cost.macs_dense / seconds)
    return median(rates) if rates else None
