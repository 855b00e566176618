"""Jobs one after the other in this very process."""

from __future__ import annotations

from collections import deque

from harness.errors import Preempted
from harness.launch.attempt import attempt
from harness.launch.executor import Report, Work, withdrawn
from harness.launch.jobs import Ending, Job


class Inline:
    """An executor without processes. A signal is for this process: `poll` raises Preempted."""

    name = "inline"

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: deque[Job] = deque()
        self._ended: dict[str, Ending] = {}

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def poll(self, report: Report, timeout_s: float) -> list[str]:
        if self._waiting and not self._ended:
            ending = attempt(self._work, self._waiting.popleft(), report, "here")
            if ending.state == "preempted":
                raise Preempted(ending.reason)
            self._ended[ending.key] = ending
        return list(self._ended)

    def collect(self, key: str) -> Ending:
        return self._ended.pop(key)

    def cancel(self, key: str) -> None:
        if withdrawn(self._waiting, key):
            self._ended[key] = Ending(key, "preempted")

    def close(self) -> None:
        self._waiting.clear()
