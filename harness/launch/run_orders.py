"""What is ordered about runs that are there: taken up, stopped, deleted; a run or a whole queue."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace

from harness.errors import ProtocolError, RunInUse
from harness.evaluation import Listener
from harness.launch.cells import Context, training_jobs
from harness.launch.jobs import Ending, Job
from harness.launch.launching import Launch, launched
from harness.launch.queue import Watching
from harness.launch.queue_folder import QueueFolder, all_queues
from harness.launch.runs import RunStatus, delete_run, find_run, folder_of, request_of
from harness.models import is_own_code, parse_model_name
from harness.registry import load
from harness.system import working_process
from harness.training import TrainingRequest, lock_of


def resume(
    name: str, launch: Launch, watching: Watching, on_result: Listener | None = None
) -> list[Ending]:
    """Run what is left of a run or of a queue; how its jobs ended.

    Raises RegistryError for an unknown name, ProtocolError for what cannot be taken up, RunInUse
    while somebody is at work on it.
    """
    queue = _queue(name)
    if queue is None:
        run = find_run(name)
        if run.state == "done":
            raise ProtocolError(
                f"{run.id} is done. To repeat it: bench runs delete, then its command"
            )
        jobs, about = _jobs_of(run), {"kind": "run"}
        queue = QueueFolder(f"run-{folder_of(run).name}")
    else:
        stored = queue.read()
        jobs = stored["jobs"]
        about = {key: value for key, value in stored.items() if key not in ("jobs", "written")}
    if any(job.where.get("own_code") for job in jobs):
        raise ProtocolError(
            f"{name} trains code of one's own, which is imported only for a name that is typed. "
            "Repeat the command that began it; it goes on"
        )
    queue.uncancel()
    return [ending for _, ending in launched(queue, jobs, about, launch, watching, on_result)]


def cancel(name: str) -> str:
    """Stop a run or a queue once it has saved; what was done, in words.

    Raises ProtocolError if nobody is at work on it.
    """
    queue = _queue(name)
    if queue is not None:
        if queue.driver is None:
            raise ProtocolError(f"{name}: no command runs this queue; there is nothing to stop")
        os.kill(queue.driver, signal.SIGTERM)
        return f"asked to stop (process {queue.driver}); running jobs save first"
    run = find_run(name)
    owner = next((q for q in all_queues() if q.name == run.queue and q.driver), None)
    if owner is not None and run.state in ("queued", "running"):
        keys = [j.key for j in owner.read()["jobs"] if j.name == f"{run.entry} seed {run.seed}"]
        owner.cancel(keys)
        return f"left out of {owner.name}; it saves first, the others go on"
    worker = working_process(lock_of(folder_of(run)))
    if worker is None:
        raise ProtocolError(f"{run.id} is {run.state}; there is nothing to stop")
    os.kill(worker, signal.SIGTERM)
    return f"asked to stop (process {worker}); it saves first"


def delete(name: str) -> int:
    """Remove a run's folder or a queue's; bytes that became free. Stored results stay.

    Raises RunInUse while somebody is at work on it.
    """
    queue = _queue(name)
    if queue is None:
        return delete_run(find_run(name))
    if queue.driver is not None:
        raise RunInUse(f"{name} is at work (process {queue.driver}). First: bench runs cancel")
    size = sum(file.stat().st_size for file in queue.path.rglob("*") if file.is_file())
    shutil.rmtree(queue.path)
    return size


def _queue(name: str) -> QueueFolder | None:
    return next((queue for queue in all_queues() if queue.name == name), None)


def _jobs_of(run: RunStatus) -> Sequence[Job]:
    """The jobs that finish one run; with its result, unless that is a queue's to put together."""
    asked = request_of(run)
    request = TrainingRequest.read(asked["request"])
    if is_own_code(parse_model_name(request.entry.model).base):
        raise ProtocolError(
            f"{run.id} trains code of one's own, which is imported only for a name that is typed. "
            "Repeat the command that began it; it goes on"
        )
    context = Context(load())
    if request.training.seeds:
        return training_jobs(request, context)
    alone = replace(request.training, seeds=(asked["seed"],))
    return training_jobs(replace(request, training=alone), context)[:-1]
