"""A queue on disk: what it consists of, what became of its jobs, who is at work on it.

queues/<name>/queue.json    the jobs as plain data, and what kind of queue it is
queues/<name>/events.jsonl  see `harness.launch.journal`
queues/<name>/cancelled     keys of jobs that somebody left out
queues/<name>/logs/         what processes printed
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from harness import paths
from harness.errors import ProtocolError, RegistryError, RunInUse
from harness.launch.jobs import Job
from harness.launch.journal import Journal
from harness.launch.wire import read_job
from harness.registry import nearest, require_id
from harness.system import locked, replace_text, working_process


@dataclass(frozen=True, slots=True)
class QueueFolder:
    """Where a queue called `name` lives."""

    name: str

    @property
    def path(self) -> Path:
        return paths.queues_folder() / self.name

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def _lock(self) -> Path:
        return paths.queues_folder() / ".locks" / f"{self.name}.lock"

    @property
    def _left_out(self) -> Path:
        return self.path / "cancelled"

    @property
    def driver(self) -> int | None:
        """Process that runs the queue now, if one on this machine does."""
        return working_process(self._lock)

    @contextmanager
    def opened(self, jobs: Sequence[Job], about: Mapping[str, Any]) -> Iterator[Journal]:
        """The queue's journal, with its jobs written down; no other command runs it meanwhile.

        Raises RunInUse if one does, ProtocolError for a name that makes no folder.
        """

        def refuse(holder: str) -> NoReturn:
            raise RunInUse(
                f"{self.name}: process {holder} runs this very queue. Look at it with bench runs, "
                f"wait until it ends, or stop it (kill {holder}; its runs save first)"
            )

        require_name(self.name)
        with locked(self._lock, refuse):
            written = {**about, "jobs": [asdict(job) for job in jobs], "written": time.time()}
            replace_text(self.path / "queue.json", json.dumps(written))
            journal = Journal.open(self.events)
            try:
                yield journal
            finally:
                journal.close()

    def cancel(self, keys: Iterable[str]) -> None:
        """Tell whoever runs the queue to leave these jobs out."""
        replace_text(self._left_out, "\n".join({*self.cancelled(), *keys}))

    def cancelled(self) -> frozenset[str]:
        """Keys of jobs that are to be left out."""
        try:
            return frozenset(self._left_out.read_text().split())
        except OSError:
            return frozenset()

    def uncancel(self) -> None:
        """Take everything in again."""
        self._left_out.unlink(missing_ok=True)

    def read(self) -> dict[str, Any]:
        """What `opened` wrote; "jobs" are jobs. Raises RegistryError if there is no such queue."""
        file = self.path / "queue.json"
        if not file.exists():
            known = [queue.name for queue in all_queues()]
            raise RegistryError(f"no queue is called {self.name!r}{nearest(self.name, known)}")
        found: dict[str, Any] = json.loads(file.read_text())
        return {**found, "jobs": [read_job(job) for job in found["jobs"]]}


def all_queues() -> list[QueueFolder]:
    """Every queue of this home, by name."""
    files = sorted(paths.queues_folder().glob("*/queue.json"))
    return [QueueFolder(file.parent.name) for file in files]


def require_name(name: str) -> None:
    """Raises ProtocolError for a name that makes no folder."""
    try:
        require_id("name", name)
    except ValueError as error:
        msg = f"{name!r} cannot be the name of a queue: {error}. Lower case letters, digits and '-'"
        raise ProtocolError(msg) from error
