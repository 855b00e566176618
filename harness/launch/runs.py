"""Every run of this home: what it is at, how far, where, and what of it can be taken up again.

A run is a folder below runs/, whoever made it and whenever; jobs of queues that have no folder yet
are listed beside them. States: queued, running, preempted (stopped, its state is saved), failed,
done.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import ProtocolError, RegistryError, RunInUse
from harness.launch.journal import Event, read_events
from harness.launch.queue_folder import QueueFolder, all_queues
from harness.registry import nearest
from harness.system import working_process
from harness.training import lock_of, read_progress

STATES = ("queued", "running", "preempted", "failed", "done")
WAITS = ("queued", "lost", "elsewhere", "busy")  # what the journal says of a job that will run


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """One run as it stands now. id: its folder below runs/, or QUEUE/KEY before it has one.

    progress_pct: of its present stage. eta_s: seconds until that ends, None where nobody knows.
    top1_pct: of the last epoch that was evaluated. updated: seconds since 1970.
    """

    id: str
    entry: str
    seed: int | None
    state: str
    stage: str = ""
    progress_pct: float | None = None
    eta_s: float | None = None
    place: str = ""
    top1_pct: float | None = None
    queue: str | None = None
    reason: str = ""
    updated: float = 0.0
    bytes: int = 0


def all_runs() -> list[RunStatus]:
    """Every run and every waiting job, by entry and seed."""
    jobs = dict(_queued())
    found = [_status(folder, jobs) for folder in _folders()]
    seen = {(run.entry, run.seed) for run in found}
    found += [status for key, status in jobs.items() if key not in seen]
    return sorted(found, key=lambda run: (run.entry, run.seed or 0, run.id))


def find_run(id: str) -> RunStatus:
    """The run called `id`, or the only one whose id begins so. Raises RegistryError."""
    runs = all_runs()
    fitting = [run for run in runs if run.id == id] or [r for r in runs if r.id.startswith(id)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        shown = ", ".join(run.id for run in fitting[:4])
        raise RegistryError(f"{len(fitting)} runs begin with {id!r}: {shown}. Name one")
    raise RegistryError(f"no run is called {id!r}{nearest(id, [r.id for r in runs])}")


def request_of(run: RunStatus) -> Mapping[str, Any]:
    """What was asked for: {"request": ..., "seed": ...}. Raises ProtocolError for an older run."""
    file = folder_of(run) / "run.json"
    if not file.exists():
        raise ProtocolError(
            f"{run.id} did not write down what was asked for. Repeat the command that began it; "
            "it goes on from the saved state"
        )
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def folder_of(run: RunStatus) -> Path:
    """Where the run keeps its state."""
    folder: Path = paths.runs_folder() / run.id
    return folder


def delete_run(run: RunStatus) -> int:
    """Remove the run's folder; bytes that became free. Its result stays. Raises RunInUse."""
    folder = folder_of(run)
    if working_process(lock_of(folder)) is not None:
        raise RunInUse(f"{run.id} is at work ({run.place}). Stop it first: bench runs cancel")
    if not folder.is_dir():
        raise ProtocolError(f"{run.id} has no folder yet; there is nothing to delete")
    size = _size(folder)
    shutil.rmtree(folder)
    return size


def leftovers(days: float) -> list[RunStatus]:
    """Runs that stopped before their end and were not touched for `days` days."""
    before = time.time() - 86400 * days
    stopped = [run for run in all_runs() if run.state in ("preempted", "failed")]
    return [run for run in stopped if folder_of(run).is_dir() and run.updated < before]


def _folders() -> Iterator[Path]:
    for folder in sorted(paths.runs_folder().glob("*/*")):
        if folder.is_dir() and not folder.parent.name.startswith("."):
            yield folder


def _status(folder: Path, jobs: Mapping[tuple[str, int | None], RunStatus]) -> RunStatus:
    entry, seed = folder.parent.name, _seed(folder)
    job = jobs.get((entry, seed))
    run = RunStatus(
        id=f"{entry}/{folder.name}",
        entry=entry,
        seed=seed,
        state="preempted",
        queue=job.queue if job else None,
        bytes=_size(folder),
    )
    done = folder / "done.json"
    if done.exists():
        run = replace(run, updated=done.stat().st_mtime)
        try:
            counts = json.loads(done.read_text())["run"]["counts"]
            top1 = 100 * counts["top1"] / counts["n"]
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            return replace(run, state="failed", reason="its done.json cannot be read")
        return replace(run, state="done", progress_pct=100.0, top1_pct=top1)
    facts = read_progress(folder) or {}
    run = replace(
        run,
        stage=facts.get("stage", ""),
        progress_pct=_progress_pct(facts),
        top1_pct=facts.get("facts", {}).get("top1"),
        updated=facts.get("updated", _newest(folder)),
    )
    worker = working_process(lock_of(folder))
    if worker is not None:
        node = facts.get("place", {}).get("node", "here")
        return replace(run, state="running", place=f"{node}, process {worker}", eta_s=_eta_s(facts))
    if job is not None and job.state == "failed":
        return replace(run, state="failed", reason=job.reason)
    return run


def _queued() -> Iterator[tuple[tuple[str, int | None], RunStatus]]:
    """(entry, seed) -> what the queues say about it; newest queue last."""
    queues = sorted(all_queues(), key=lambda queue: queue.read()["written"])
    for queue in queues:
        events = read_events(queue.events)
        for job in queue.read()["jobs"]:
            if job.kind == "result":
                continue
            entry = job.what["entry"] if job.kind == "evaluate" else job.what["request"]["entry"]
            status = _job_status(queue, job.key, entry["id"], job.what.get("seed"), events)
            if status.state != "done":
                yield (status.entry, status.seed), status


def _job_status(
    queue: QueueFolder, key: str, entry: str, seed: int | None, events: Mapping[str, Event]
) -> RunStatus:
    event = events.get(key)
    state = "queued" if event is None or event.state in WAITS else event.state
    if state == "running" and queue.driver is None:
        state = "queued"
    return RunStatus(
        id=f"{queue.name}/{key[:12]}",
        entry=entry,
        seed=seed,
        state=state,
        queue=queue.name,
        place="" if event is None else event.place,
        reason="" if event is None else event.reason,
        updated=0.0 if event is None else event.at,
    )


def _seed(folder: Path) -> int | None:
    tail = folder.name.rpartition("-seed")[2]
    return int(tail) if tail.isdigit() else None


def _progress_pct(facts: Mapping[str, Any]) -> float | None:
    return 100.0 * facts["done"] / facts["total"] if facts.get("total") else None


def _eta_s(facts: Mapping[str, Any]) -> float | None:
    """Seconds until the stage ends, at its speed since it began or was resumed."""
    total, done = facts.get("total"), facts.get("done", 0) - facts.get("done_before", 0)
    if not total or done <= 0:
        return None
    elapsed: float = facts["updated"] - facts["stage_began"]
    return elapsed / done * (total - facts["done"])


def _newest(folder: Path) -> float:
    return max((file.stat().st_mtime for file in folder.rglob("*")), default=0.0)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
