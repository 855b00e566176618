"""Jobs on Slurm, submitted by submitit as arrays. All nodes see the same home folder.

A job that reaches its time limit, or that an administrator requeues, is told in time, saves, and
goes on from there. How jobs stand is asked of squeue, which needs no accounting.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import submitit

from harness.errors import ProtocolError
from harness.launch.executor import Report, withdrawn
from harness.launch.executors import Place
from harness.launch.jobs import Ending, Job, State, Update
from harness.launch.remote import remote_attempt, surroundings
from harness.system import replace_text

LOOK_EVERY_S = 2.0
GONE_LOOKS = 3  # a job that squeue lacks so often, without a word from it, is lost
SAVING_S = 60  # seconds before the time limit at which a job is told to save
NEWS_EVERY_S = 1.0
WAITS = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING")


def on_node(work: str, job: dict[str, Any], news: str) -> dict[str, Any]:
    """What runs in the Slurm job: one attempt; news go to the file `news`."""
    signal.signal(signal.SIGUSR2, _save)  # Slurm's word that the time limit is near
    number = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID", "here")
    place = f"{os.environ.get('SLURMD_NODENAME', 'node')}, job {number}"
    said = 0.0

    def report(update: Update) -> None:
        nonlocal said
        if time.monotonic() - said > NEWS_EVERY_S:
            said = time.monotonic()
            replace_text(Path(news), json.dumps(asdict(update) | {"place": place}))

    return remote_attempt(work, job, place, report)


def _save(_number: int, _frame: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class _Sent:
    """A job in Slurm's hands."""

    job: Job
    handle: Any  # submitit.Job
    news: Path
    heard: float = 0.0  # time of the news that was told on
    absent: int = 0  # looks at squeue in a row that did not show it
    cancelled: bool = False


class Slurm:
    """An executor over Slurm. options: partition, time (minutes), account, array (jobs at once)."""

    name = "slurm"

    def __init__(self, work: str, folder: Path, options: Mapping[str, Any], cluster: str) -> None:
        self._work, self._folder = work, folder
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        except RuntimeError as error:
            msg = "this machine has no sbatch: run the command where Slurm's commands are"
            raise ProtocolError(msg) from error
        self._minutes = options.get("time") or 60
        given = {name: options.get(name) for name in ("partition", "account")}
        exports = [f"export {name}={shlex.quote(text)}" for name, text in surroundings().items()]
        self._executor.update_parameters(
            slurm_setup=exports,
            slurm_signal_delay_s=min(SAVING_S, int(30 * self._minutes)),
            slurm_array_parallelism=options.get("array") or 256,
            **{f"slurm_{name}": value for name, value in given.items() if value},
        )
        self._waiting: deque[Job] = deque()
        self._sent: dict[str, _Sent] = {}
        self._ended: dict[str, Ending] = {}
        self._looked = 0.0

    def submit(self, job: Job) -> None:
        self._waiting.append(job)

    def poll(self, report: Report, timeout_s: float) -> list[str]:
        self._send()
        deadline = time.monotonic() + (0.0 if self._ended else timeout_s)
        while True:
            self._look(report)
            if self._ended or time.monotonic() >= deadline:
                return list(self._ended)
            time.sleep(min(0.1, timeout_s))

    def collect(self, key: str) -> Ending:
        return self._ended.pop(key)

    def cancel(self, key: str) -> None:
        if key in self._sent:
            sent = self._sent[key]
            sent.cancelled = True
            _scancel(sent.handle.job_id, *([] if self._waits(sent) else ["--signal=TERM"]))
        elif withdrawn(self._waiting, key):
            self._ended[key] = Ending(key, "preempted")

    def close(self) -> None:
        self._waiting.clear()
        for sent in self._sent.values():
            _scancel(sent.handle.job_id)
        self._sent.clear()

    def _send(self) -> None:
        """Give Slurm what waits: an array of jobs for each kind of need."""
        jobs = sorted(self._waiting, key=lambda job: str(job.resources))
        self._waiting.clear()
        for needs, group in groupby(jobs, key=lambda job: job.resources):
            self._executor.update_parameters(
                cpus_per_task=needs.cpus,
                mem_gb=needs.memory_gib,
                timeout_min=self._minutes,
                **({"gpus_per_node": 1} if needs.gpus else {}),
            )
            alike = list(group)
            try:
                with self._executor.batch():
                    handles = [self._hand_over(job) for job in alike]
            except Exception as error:  # submitit's, with sbatch's own words
                reason = " ".join(str(error).split())[-300:]
                for job in alike:
                    self._ended[job.key] = Ending(job.key, "failed", None, "ProtocolError", reason)
                continue
            for job, handle in zip(alike, handles, strict=True):
                self._sent[job.key] = _Sent(job, handle, self._news(job))

    def _hand_over(self, job: Job) -> Any:
        return self._executor.submit(on_node, self._work, asdict(job), str(self._news(job)))

    def _news(self, job: Job) -> Path:
        return self._folder / f"{job.key[:16]}.news.json"

    def _look(self, report: Report) -> None:
        for key, sent in list(self._sent.items()):
            if sent.handle.paths.result_pickle.exists():
                self._finish(key, sent)
        if time.monotonic() - self._looked < LOOK_EVERY_S or not self._sent:
            return
        self._looked = time.monotonic()
        there = _states([sent.handle.job_id for sent in self._sent.values()])
        for key, sent in list(self._sent.items()):
            _tell(sent, report)
            sent.absent = 0 if sent.handle.job_id in there else sent.absent + 1
            if sent.absent >= GONE_LOOKS and not sent.handle.paths.result_pickle.exists():
                del self._sent[key]
                state: State = "preempted" if sent.cancelled else "lost"
                reason = f"Slurm job {sent.handle.job_id} ended without a word; see {self._folder}"
                self._ended[key] = Ending(key, state, None, "", reason)

    def _finish(self, key: str, sent: _Sent) -> None:
        ending = self._ending(key, sent)
        if ending.state == "preempted" and not sent.cancelled and self._waits(sent):
            sent.handle.paths.result_pickle.unlink()  # requeued: the same job goes on by itself
            return
        del self._sent[key]
        self._ended[key] = ending

    def _ending(self, key: str, sent: _Sent) -> Ending:
        try:
            return Ending(**sent.handle.result())
        except submitit.core.utils.FailedJobError as error:  # before the attempt, an import say
            reason = str(error).strip().splitlines()[-1]
            return Ending(key, "failed", None, "FailedJobError", reason)

    def _waits(self, sent: _Sent) -> bool:
        number = sent.handle.job_id
        return _states([number]).get(number, "") in WAITS


def slurm(place: Place) -> Slurm:
    """The executor for the options of a Place."""
    return Slurm(place.work, place.logs, place.options, "slurm")


def _tell(sent: _Sent, report: Report) -> None:
    try:
        written = sent.news.stat().st_mtime
        if written > sent.heard:
            sent.heard = written
            report(Update(**json.loads(sent.news.read_text())))
    except (FileNotFoundError, ValueError):
        return  # nothing said yet


def _states(numbers: list[str]) -> dict[str, str]:
    """Number of each Slurm job that is known to squeue -> its state; array tasks one by one."""
    ids = ",".join(dict.fromkeys(number.partition("_")[0] for number in numbers))
    words = ["squeue", "--noheader", "--array", "--format=%i|%T", "--jobs", ids]
    done = subprocess.run(words, capture_output=True, text=True)
    lines = (line.partition("|") for line in done.stdout.split())
    finished = ("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
    return {number: state for number, _, state in lines if state not in finished}


def _scancel(number: str, *options: str) -> None:
    subprocess.run(["scancel", *options, number], capture_output=True)
