"""The near end of a worker process: start it, hand it a job, hear its answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harness.launch.jobs import Ending, Job, Update
from harness.launch.wire import job_line, read_answer

# The same modules are found in the same places as in this process; -P keeps others out.
_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from harness.launch.worker import main; main(*sys.argv[2:])"
)
LAST_WORDS = 300  # letters of the log that tell why a process died


class WorkerProcess:
    """One process of the pool, and the job it is at."""

    def __init__(self, work: str, place: str, gpu: str, log: Path) -> None:
        self.place, self.gpu = place, gpu
        self.job: Job | None = None
        self.stopping = False
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), work, place]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
                start_new_session=True,  # Ctrl-C is for the queue, which asks its workers to save
            )

    def start(self, job: Job) -> None:
        """Hand over a job; the process is idle."""
        self.job = job
        self._tell(job_line(job))

    def stop(self) -> None:
        """Ask for the job to be saved and ended; the process leaves then."""
        self.stopping = True
        self._tell(json.dumps({"stop": True}))

    def answers(self) -> Iterator[Update | Ending]:
        """Everything the process says, until it is gone; waits."""
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    yield read_answer(line)
                except ValueError:  # half a line: it was killed while it wrote
                    return

    def epitaph(self) -> str:
        """How the process ended and the last it printed; waits for its end."""
        code = self._process.wait()
        self._hang_up()
        how = f"{signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        lines = self._log.read_text(errors="replace").strip().splitlines()
        words = f": {lines[-1][-LAST_WORDS:]}" if lines and code >= 0 else ""
        return f"its process ended ({how}){words}"

    def close(self) -> None:
        """Kill the process; nothing that is saved is lost."""
        self._process.kill()
        self._process.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it did not read any more
            self._process.stdin.close()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is dead, which the end of its answers says in a moment
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
