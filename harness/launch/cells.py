"""From a training to jobs: one per seed, and one that puts their result together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import paths
from harness.data import find_images
from harness.errors import DataError
from harness.launch.jobs import Ending, Job, Resources
from harness.models import source_sha256
from harness.registry import Evaluation, Registry, evaluation_sha256, input_shape
from harness.results import file_of
from harness.system import provenance, sha256_file
from harness.training import TrainingRequest

SMALL_PX = 64  # pictures up to this size: a network on them leaves most of a GPU idle
# Of the request, what moves no number: folders, who said what, how often to look and save.
_WHERE = (
    "data_root",
    "from_file",
    "offline",
    "cache",
    "save_every_s",
    "evaluate_every",
    "fresh",
    "overrides",
    "seeds",
)


@dataclass(frozen=True, slots=True)
class Context:
    """What all jobs of one command share."""

    registry: Registry
    registries: tuple[Path, ...] = ()
    own_code: tuple[str, ...] = ()  # as typed: path/to/file.py:Class
    resources: Resources | None = None  # None: by the entry, see `default_resources`


def default_resources(evaluation: Evaluation, device: str) -> Resources:
    """What one training or evaluation needs: by the size of its pictures.

    Small pictures: one thread and a quarter of a GPU; others: four threads and a whole one.
    """
    small = max(input_shape(evaluation)[1:]) <= SMALL_PX
    gpus = 0.0 if not device.startswith("cuda") else 0.25 if small else 1.0
    return Resources(1 if small else 4, gpus, 2.0 if small else 8.0)


def training_jobs(request: TrainingRequest, context: Context) -> list[Job]:
    """One job per seed of `request`, a first training's before them, and the result's at the end.

    Jobs of several requests with the same key are one and the same.
    """
    seeds = request.training.seeds
    jobs, keys = [], []
    for seed in seeds:
        before: tuple[str, ...] = ()
        if request.training.first is not None:
            first = _seed_job(first_of(request), seed, context, ())
            jobs.append(first)
            before = (first.key,)
        jobs.append(_seed_job(request, seed, context, before))
        keys.append(jobs[-1].key)
    what = _what(request, context) | {"seeds": list(seeds)}
    needs = _resources(request, context)
    name = f"{request.entry.id} result"
    jobs.append(
        Job(
            kind="result",
            name=name,
            what=what,
            where=_where(request, context, seeds),
            resources=needs,
            after=tuple(keys),
        )
    )
    return jobs


def first_of(request: TrainingRequest) -> TrainingRequest:
    """The training that comes before every seed of `request`."""
    first = request.training.first
    assert first is not None
    training = replace(request.training, first=None, overrides=first.overrides)
    options = replace(request.options, from_file=None)
    return TrainingRequest(first.entry, first.recipe, options, training)


def run_jobs(jobs: Iterable[Job]) -> list[Job]:
    """The trainings among `jobs`, each once."""
    return list({job.key: job for job in jobs if job.kind == "train"}.values())


def still_there(ending: Ending) -> bool:
    """Whether what a finished job left is where it left it: its run, its result."""
    value = ending.value or {}
    if "run" in value:
        return (paths.runs_folder() / value["run"] / "done.json").exists()
    return "result_id" not in value or file_of(value["entry"], value["result_id"]).exists()


def _seed_job(request: TrainingRequest, seed: int, context: Context, after: tuple[str, ...]) -> Job:
    return Job(
        kind="train",
        name=f"{request.entry.id} seed {seed}",
        what=_what(request, context) | {"seed": seed},
        where=_where(request, context, ()),  # the result of all seeds is another job's
        resources=_resources(request, context),
        after=after,
    )


def _what(request: TrainingRequest, context: Context) -> dict[str, Any]:
    """Everything that decides the result, the code and the images included."""
    plain = request.as_plain()
    evaluation = context.registry.evaluations[request.entry.evaluation]
    file, device = request.options.from_file, request.options.device.partition(":")[0]
    kept = {key: value for key, value in plain.items() if key not in _WHERE}
    return {
        "request": kept | {"device": device},
        "overrides": {key: change["value"] for key, change in plain["overrides"].items()},
        "evaluation": evaluation_sha256(evaluation),
        "data": fingerprint(evaluation, request.options.data_root),
        "start": sha256_file(file) if file is not None else None,
        "source": source_sha256(request.entry.model),
        "code": provenance.code_version(),
        "threads": _resources(request, context).cpus,
    }


def _where(request: TrainingRequest, context: Context, seeds: Iterable[int]) -> dict[str, Any]:
    plain = request.as_plain()
    rest = {key: plain[key] for key in _WHERE}
    return {
        "request": rest | {"seeds": list(seeds), "fresh": False},
        "registries": [str(file.expanduser().resolve()) for file in context.registries],
        "own_code": list(context.own_code),
    }


def _resources(request: TrainingRequest, context: Context) -> Resources:
    if context.resources is not None:
        return context.resources
    evaluation = context.registry.evaluations[request.entry.evaluation]
    return default_resources(evaluation, request.options.device)


_FINGERPRINTS: dict[tuple[str, Path | None], str | None] = {}


def fingerprint(evaluation: Evaluation, data_root: Path | None) -> str | None:
    """Of the evaluation images; None where they are not on this machine."""
    key = (evaluation.name, data_root)
    if key not in _FINGERPRINTS:
        try:
            images = find_images(evaluation, data_root, download=False)
            _FINGERPRINTS[key] = images.identity.fingerprint
        except DataError:
            _FINGERPRINTS[key] = None
    return _FINGERPRINTS[key]
