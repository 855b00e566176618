"""A process that does one job after the other, as it is told through its standard input.

Modules are imported once for all its jobs. Its input ends when whoever started it dies: it then
saves what it is at and leaves. What is printed goes to its log, not into the conversation.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import IO, Any

from harness.errors import Preempted
from harness.launch.attempt import attempt
from harness.launch.executor import Report, Work
from harness.launch.jobs import Job, Update
from harness.launch.wire import ending_line, read_job, update_line
from harness.training import obeyed

STOP_AGAIN_S = 1.0


def main(work_name: str, place: str) -> None:
    """Serve until the input ends. work_name: "module:function", what does a job."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = work_name.partition(":")
    work: Work = getattr(import_module(module), name)
    inbox = _Inbox(sys.stdin)

    def stoppable(job: Job, report: Report) -> Mapping[str, Any]:
        with obeyed():
            if inbox.stopped:  # before `obeyed` could hear of it
                raise Preempted("stopped before it began")
            return work(job, report)

    try:
        while (job := inbox.next()) is not None:
            report = partial(_report, answers, place)
            ending = attempt(stoppable, job, report, place)
            inbox.finished()
            _say(answers, ending_line(ending))
            if inbox.stopped:  # wherever it was stopped, an import may be half done
                return
    except BrokenPipeError:  # nobody listens any more, and everything is saved
        os._exit(0)


def _report(answers: IO[str], place: str, update: Update) -> None:
    _say(answers, update_line(replace(update, place=place)))


def _say(answers: IO[str], line: str) -> None:
    answers.write(line + "\n")
    answers.flush()


class _Inbox:
    """Reads in a thread of its own, so that a request to stop is heard in the middle of a job."""

    def __init__(self, lines: IO[str]) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._working = self.stopped = False
        self._guard = threading.Lock()
        # Between two jobs there is nothing to stop.
        signal.signal(signal.SIGTERM, lambda *_: None)
        threading.Thread(target=self._read, args=(lines,), daemon=True).start()

    def next(self) -> Job | None:
        job = self._jobs.get()
        with self._guard:
            self._working, self.stopped = job is not None, False
        return job

    def finished(self) -> None:
        with self._guard:
            self._working = False

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            message = json.loads(line)
            if "run" in message:
                self._jobs.put(read_job(message["run"]))
            else:
                self._stop()
        self._jobs.put(None)
        self._stop()

    def _stop(self) -> None:
        """SIGTERM to this process until its job has ended: trainings save and are preempted.

        Once is not enough: what is raised in the middle of an import or a callback can get lost.
        """
        while True:
            with self._guard:
                if not self._working:
                    return
                self.stopped = True
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(STOP_AGAIN_S)
