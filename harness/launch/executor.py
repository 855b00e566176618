"""What every place where jobs run can do. Nothing else of it is known to the queue.

An executor takes jobs in the order they are submitted, gives each the resources it names, and
tells the truth about how it ended. It never repeats a job: what to do about a lost one is the
queue's decision (`harness.launch.queue`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from harness.launch.jobs import Ending, Job, Update

Report = Callable[[Update], object]
# Does one job wherever it runs; raises BenchError. The report may be called often.
Work = Callable[[Job, Report], Mapping[str, Any]]


class Executor(Protocol):
    """A place where jobs run."""

    name: str

    def submit(self, job: Job) -> None:
        """Take the job; it runs when there is room. A key may be submitted again once it ended.

        Raises ProtocolError if there will never be room.
        """

    def poll(self, report: Report, timeout_s: float) -> list[str]:
        """Keys of jobs whose attempt ended; waits up to `timeout_s` while there is none.

        report: called in this thread with the news of running jobs.
        """

    def collect(self, key: str) -> Ending:
        """How the attempt ended, once for each key that `poll` named."""

    def cancel(self, key: str) -> None:
        """Ask the job to save and stop; it ends as "preempted", unless it is done before."""

    def close(self) -> None:
        """Stop everything at once and give every process back."""


def withdrawn(waiting: deque[Job], key: str) -> bool:
    """Take the job `key` out of what waits; whether it was there."""
    job = next((job for job in waiting if job.key == key), None)
    if job is not None:
        waiting.remove(job)
    return job is not None
