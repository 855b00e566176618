"""A queue started: its folder opened, its executor made, its results heard of one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.evaluation import Listener
from harness.launch.cells import still_there
from harness.launch.executors import Place, make_executor
from harness.launch.jobs import Ending, Job
from harness.launch.queue import Queue, Watching
from harness.launch.queue_folder import QueueFolder
from harness.launch.through_store import sent
from harness.results import Result, file_of, load
from harness.system import remove_leftovers


@dataclass(frozen=True, slots=True)
class Launch:
    """Where and how many at once. options: what the user said for this executor alone.

    store: address for nodes that do not see this home folder; None: they do, or as the jobs say.
    """

    executor: str = "local"
    device: str = "cpu"
    max_jobs: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    store: str | None = None


def launched(
    queue: QueueFolder,
    jobs: Sequence[Job],
    about: Mapping[str, Any],
    launch: Launch,
    watching: Watching,
    on_result: Listener | None = None,
) -> Iterator[tuple[Job, Ending]]:
    """Run `jobs` as the queue `queue`; each with its ending, as soon as it is known.

    on_result: hears of every new result as soon as it is on record. Raises Preempted after SIGTERM
    or Ctrl-C, RunInUse if another process runs this queue.
    """
    if launch.executor == "inline":  # elsewhere each job sees the one GPU that it got
        jobs = [replace(job, where={**job.where, "device": launch.device}) for job in jobs]
    if launch.store is not None:
        jobs = [sent(job, launch.store) for job in jobs]
    place = Place(launch.device, queue.logs, options=launch.options)
    watching = replace(watching, ended=_also(watching.ended, on_result))
    with queue.opened(jobs, about) as journal:
        executor = make_executor(launch.executor, place)
        try:
            made = Queue(executor, journal, watching, launch.max_jobs, still_there, queue.cancelled)
            for job, ending in made.coming(jobs):
                _tidy(ending)
                yield job, ending
        finally:
            executor.close()


def result_of(ending: Ending | None) -> Result | None:
    """The stored result that a job made or found."""
    value = ending.value if ending is not None else None
    if not value or "result_id" not in value:
        return None
    return load(file_of(value["entry"], value["result_id"]))


def _tidy(ending: Ending) -> None:
    """Remove what a killed command had begun beside a result that needs nothing more written."""
    if ending.value and "result_id" in ending.value:
        remove_leftovers(file_of(ending.value["entry"], ending.value["result_id"]).parent)


def _also(
    ended: Callable[[Job, Ending], object], on_result: Listener | None
) -> Callable[[Job, Ending], object]:
    def both(job: Job, ending: Ending) -> None:
        ended(job, ending)
        result = result_of(ending)
        if result is not None and on_result is not None:
            on_result(result)

    return both
