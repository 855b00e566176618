"""What the kinds of jobs do, in whatever process they run. Each may be repeated at any time:

train      one seed to its end, in its run folder; finished before: at once
result     the result of seeds that are trained; on record already: that one
evaluate   one entry's published file, measured, judged and saved
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import BenchError, DataError, ProtocolError
from harness.launch.cells import fingerprint
from harness.launch.executor import Report
from harness.launch.jobs import Job, Update
from harness.launch.through_store import arrived, shared_results
from harness.registry import Entry, Registry, from_mapping, load
from harness.results import Result, load_entry
from harness.system import Options, Progress
from harness.training import TrainingRequest, reproduce_by_training, train_seed

NEWS_EVERY_S = 1.0


def run(job: Job, report: Report) -> Mapping[str, Any]:
    """Do `job` with the threads it asked for. Raises BenchError."""
    import torch

    if job.kind not in _KINDS:
        raise ProtocolError(f"no job is of kind {job.kind!r}; kinds: {', '.join(_KINDS)}")
    threads = torch.get_num_threads()
    # The order of summation, and so the last bits, depend on it: the same wherever the job runs.
    torch.set_num_threads(job.resources.cpus)
    try:
        return _KINDS[job.kind](arrived(job), Reported(job.key, report))
    finally:
        torch.set_num_threads(threads)


def _train(job: Job, progress: Progress) -> dict[str, Any]:
    asked, registry = _request(job, progress), _registry(job)
    _refuse_other_images(job, asked, registry)
    seed = train_seed(asked, registry, job.what["seed"])
    seed.folder.keep_whole()
    return {
        "run": seed.folder.path.relative_to(paths.runs_folder()).as_posix(),
        "key": seed.folder.key,
        "top1_pct": seed.run.counts.top1_pct,
        "wall_s": seed.run.wall_s,
        "steps": seed.run.steps,
    }


def _result(job: Job, progress: Progress) -> dict[str, Any]:
    asked = _request(job, progress)
    with shared_results(job, asked.entry.id):
        result = reproduce_by_training(
            asked.entry, _registry(job), asked.recipe, asked.options, asked.training
        )
    return {"entry": result.entry, "result_id": result.result_id}


def _evaluate(job: Job, progress: Progress) -> dict[str, Any]:
    entry = from_mapping(Entry, job.what["entry"])
    with shared_results(job, entry.id):
        return _evaluated(entry, job, progress)


def _evaluated(entry: Entry, job: Job, progress: Progress) -> dict[str, Any]:
    from harness.evaluation import reproduce_together

    data_root = job.where["data_root"]
    options = Options(
        device=_device(job, job.what["device"]),
        data_root=Path(data_root) if data_root else None,
        limit=job.what["limit"],
        offline=job.where["offline"],
        dataset=job.what["stand_in"],
        cache=job.where["cache"],
        fast=job.what["fast"],
        progress=progress,
    )
    found = _measured_since(entry, job.where["since"])
    if found is not None and not job.what["resume"]:  # the attempt before died after saving
        return {"entry": entry.id, "result_id": found.result_id, "on_record": False}
    (outcome,) = reproduce_together([entry], _registry(job), options, resume=job.what["resume"])
    if outcome.result is None:
        assert outcome.error is not None
        raise outcome.error
    value = {
        "entry": entry.id,
        "result_id": outcome.result.result_id,
        "on_record": outcome.on_record,
    }
    if outcome.error is not None:
        value["error"] = {"kind": type(outcome.error).__name__, "text": str(outcome.error)}
    return value


def _measured_since(entry: Entry, since: str) -> Result | None:
    stored = load_entry(entry.id, layers=False)
    late = [r for r in stored if r.result_id >= since and r.mode == "evaluated"]
    return late[-1] if late else None


_KINDS: dict[str, Callable[[Job, Progress], Mapping[str, Any]]] = {
    "train": _train,
    "result": _result,
    "evaluate": _evaluate,
}


class Reported:
    """Progress of a job as news about it, not more often than somebody can read."""

    def __init__(self, key: str, report: Report) -> None:
        self._key, self._report = key, report
        self._stage, self._done, self._said = "", 0, 0.0
        self._total: int | None = None
        self._facts: dict[str, float] = {}

    def stage(self, text: str, total: int | None = None) -> None:
        self._stage, self._total, self._done = text, total, 0
        self._say()

    def advance(self, amount: int = 1, **facts: float) -> None:
        self._done += amount
        self._facts.update(facts)
        if time.monotonic() - self._said > NEWS_EVERY_S:
            self._say()

    def note(self, text: str) -> None:
        """Epochs are seen in the numbers; everything else is in the run folder."""

    def _say(self) -> None:
        self._said = time.monotonic()
        facts = {name: value for name, value in self._facts.items() if value == value}
        self._report(Update(self._key, "", self._stage, self._done, self._total, facts))


def _request(job: Job, progress: Progress) -> TrainingRequest:
    data = {**job.what["request"], **job.where["request"]}
    _import_own_code(job)
    asked = TrainingRequest.read(data).with_progress(progress)
    device = _device(job, asked.options.device)
    options = replace(asked.options, device=device, store=job.where.get("store"))
    return replace(asked, options=options)


def _device(job: Job, kind: str) -> str:
    """The very device that the command names, if it is of the kind that the job is known by."""
    named = str(job.where.get("device", kind))
    return named if named.partition(":")[0] == kind else kind


def _refuse_other_images(job: Job, asked: TrainingRequest, registry: Registry) -> None:
    """A node with a data folder of its own has to have the images that the command has."""
    evaluation = registry.evaluations[asked.entry.evaluation]
    wanted = job.what["data"]
    if "store" not in job.where or wanted is None:
        return
    found = fingerprint(evaluation, asked.options.data_root)
    if found not in (None, wanted):
        raise DataError(
            f"{asked.entry.dataset}: other images on this node (fingerprint {found[:12]}) than at "
            f"the command ({wanted[:12]}). Copy its data folder here, or name it: BENCH_DATA_ROOT"
        )


def _import_own_code(job: Job) -> None:
    """The networks of one's own whose names were typed for this command."""
    from harness.models import import_typed

    for typed in job.where["own_code"]:
        import_typed(typed)


def _registry(job: Job) -> Registry:
    return _loaded(tuple(job.where["registries"]))


@cache
def _loaded(files: tuple[str, ...]) -> Registry:
    return load(extra=[Path(file) for file in files])


def error_of(kind: str, text: str) -> BenchError:
    """The error that a job met, as it can be raised here."""
    from harness import errors

    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, BenchError):
        return found(text)
    return BenchError(text)
