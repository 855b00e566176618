"""The entries of a suite as jobs: evaluated or trained by workers, told as ever as outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.errors import BenchError
from harness.evaluation import Listener, Outcome
from harness.launch.cells import Context, default_resources, fingerprint, training_jobs
from harness.launch.jobs import Ending, Job
from harness.launch.launching import Launch, launched, result_of
from harness.launch.queue import Watching
from harness.launch.queue_folder import QueueFolder
from harness.launch.work import error_of
from harness.registry import Entry, Registry, evaluation_sha256, plain
from harness.results import new_id
from harness.system import Options, provenance, sha256_json
from harness.training import Training, TrainingRequest, recipe_for


@dataclass(frozen=True, slots=True)
class Workers:
    """Where the entries of a suite are worked at, with what, and who watches."""

    launch: Launch
    context: Context
    watching: Watching = Watching()

    def reproduce_together(
        self,
        entries: Sequence[Entry],
        registry: Registry,
        options: Options,
        *,
        resume: bool,
        on_result: Listener | None = None,
    ) -> Iterator[Outcome]:
        """As `harness.evaluation.reproduce_together`, one job per entry, in the order they end."""
        since = new_id()[0]
        jobs: list[Job] = []
        of: dict[str, Entry] = {}
        for entry in entries:
            try:
                job = _evaluation_job(entry, self.context, options, resume, since)
            except BenchError as error:
                yield Outcome(entry, error=error)
                continue
            jobs.append(job)
            of[job.key] = entry
        for job, ending in self._run("evaluate", jobs, on_result):
            yield _outcome(of[job.key], ending)

    def retrain_together(
        self,
        entries: Sequence[Entry],
        registry: Registry,
        options: Options,
        training: Training,
        overrides: Mapping[str, object],
        *,
        on_result: Listener | None = None,
    ) -> Iterator[Outcome]:
        """Every entry trained by its recipe, one job per seed; one outcome per entry."""
        jobs: list[Job] = []
        of: dict[str, Entry] = {}
        for entry in entries:
            try:
                recipe, changed = recipe_for(entry, registry, overrides)
            except BenchError as error:
                yield Outcome(entry, error=error)
                continue
            chosen = replace(training, overrides=changed)
            made = training_jobs(TrainingRequest(entry, recipe, options, chosen), self.context)
            jobs += made
            of[made[-1].key] = entry
        for job, ending in self._run("train", jobs, on_result):
            if job.key in of:
                yield _outcome(of[job.key], ending)

    def _run(
        self, kind: str, jobs: Sequence[Job], on_result: Listener | None
    ) -> Iterator[tuple[Job, Ending]]:
        named = sha256_json([kind, *(job.name for job in jobs)])[:8]
        queue = QueueFolder(f"suite-{named}")
        yield from launched(queue, jobs, {"kind": kind}, self.launch, self.watching, on_result)


def _evaluation_job(
    entry: Entry, context: Context, options: Options, resume: bool, since: str
) -> Job:
    evaluation = context.registry.evaluation(entry, options.dataset)
    return Job(
        kind="evaluate",
        name=entry.id,
        what={
            "entry": plain(entry),
            "evaluation": evaluation_sha256(evaluation),
            "data": fingerprint(evaluation, options.data_root),
            "device": options.device.partition(":")[0],
            "limit": options.limit,
            "stand_in": options.dataset,
            "fast": options.fast,
            "resume": resume,
            "again": None if resume else since,
            "code": provenance.code_version(),
            "versions": provenance.versions(),
        },
        where={
            "data_root": str(options.data_root.resolve()) if options.data_root else None,
            "offline": options.offline,
            "cache": options.cache,
            "since": since,
            "registries": [str(file.resolve()) for file in context.registries],
        },
        resources=context.resources or default_resources(evaluation, options.device),
    )


def _outcome(entry: Entry, ending: Ending) -> Outcome:
    if ending.state == "failed":
        return Outcome(entry, error=error_of(ending.error, ending.reason))
    value = ending.value or {}
    told = value.get("error")
    error = error_of(told["kind"], told["text"]) if told else None
    return Outcome(entry, result_of(ending), error, on_record=bool(value.get("on_record")))
