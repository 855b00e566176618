"""About what a sweep costs, before it runs: from runs that are here, else from a short timing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import torch
from torch.nn import functional as F

from harness import paths
from harness.checkpoints import build_model
from harness.launch.cells import first_of
from harness.registry import Registry, data_set, input_shape
from harness.training import TrainingRequest, training_images

IMAGES = 16  # of a timed step
STEPS = 3  # timed, after one that is not
LEAST_EPOCHS = 1  # of a run that says how fast trainings are


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Trainings, images they see, and hours on one worker. basis: where the speed is from."""

    trainings: int
    images: int
    hours: float
    basis: str

    @property
    def sentence(self) -> str:
        """In words."""
        about = f"{self.hours:.1f} h" if self.hours >= 1 else f"{60 * self.hours:.1f} min"
        return (
            f"{self.trainings} trainings, {self.images:,} images, about {about} of one worker "
            f"({self.basis})"
        )


def estimate_cost(requests: Iterable[TrainingRequest], registry: Registry) -> CostEstimate:
    """What all seeds of `requests` cost together; a dense training they share counts once."""
    alone: dict[tuple[str, int], TrainingRequest] = {}
    for request in requests:
        parts = [request]
        if request.training.first is not None:
            parts.insert(0, first_of(request))
        for part in parts:
            for seed in part.training.seeds:
                alone.setdefault((part.entry.id, seed), part)
    speeds: dict[tuple[str, str, str], tuple[float, str]] = {}
    images, seconds, bases = 0, 0.0, set()
    for request in alone.values():
        count = training_images(request.entry, request.recipe)
        key = (request.entry.model, request.entry.dataset, request.options.device)
        if key not in speeds:
            speeds[key] = _speed(request, registry)
        images, seconds = images + count, seconds + count * speeds[key][0]
        bases.add(speeds[key][1])
    return CostEstimate(len(alone), images, seconds / 3600, " and ".join(sorted(bases)))


def _speed(request: TrainingRequest, registry: Registry) -> tuple[float, str]:
    """Seconds for a training image, and what they are from."""
    known = _seconds_on_record(request)
    if known is not None:
        return known, "as fast as runs here"
    return _seconds_timed(request, registry), "as fast as a short timing; methods add to it"


def _seconds_on_record(request: TrainingRequest) -> float | None:
    """Median over finished runs of the same network and data set."""
    found = []
    per_epoch = data_set(request.entry.dataset).images.get("train", 0)
    for file in paths.runs_folder().glob("*/*/done.json"):
        done = json.loads(file.read_text())
        origin, run = done.get("origin", {}), done["run"]
        same = [origin.get("model"), origin.get("dataset")]
        if same == [request.entry.model, request.entry.dataset] and run["epochs"] >= LEAST_EPOCHS:
            found.append(run["wall_s"] / (run["epochs"] * per_epoch))
    return median(found) if found and per_epoch else None


def _seconds_timed(request: TrainingRequest, registry: Registry) -> float:
    """Of forward and backward passes on made-up pictures."""
    evaluation = registry.evaluations[request.entry.evaluation]
    device = request.options.device
    model = build_model(request.entry, evaluation).to(device).train()
    pictures = torch.zeros(IMAGES, *input_shape(evaluation), device=device)
    labels = torch.zeros(IMAGES, dtype=torch.long, device=device)
    started = time.perf_counter()
    for step in range(STEPS + 1):
        if step == 1:
            started = time.perf_counter()
        loss = F.cross_entropy(model(pictures), labels)
        loss.backward()
        loss.item()  # waits for the device
    return (time.perf_counter() - started) / (STEPS * IMAGES)
