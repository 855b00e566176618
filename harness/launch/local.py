"""Jobs in a pool of processes on this machine; its CPUs and GPUs are divided among them.

A process is started when there is a job and room for it, and serves many jobs, so that torch is
imported once. One that dies loses its job and nothing else; the next job gets a new process.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import ProtocolError
from harness.launch.capacity import Capacity
from harness.launch.executor import Report, withdrawn
from harness.launch.jobs import Ending, Job, State, Update
from harness.launch.process import WorkerProcess

News = tuple[WorkerProcess, Update | Ending | None]  # None: the process is gone
ROUNDING = 1e-9  # ten tenths of a GPU are a GPU


@dataclass
class Local:
    """An executor over processes. work: "module:function" that does a job; logs: their folder."""

    capacity: Capacity
    work: str
    logs: Path
    name: str = "local"
    _waiting: deque[Job] = field(default_factory=deque)
    _workers: list[WorkerProcess] = field(default_factory=list)
    _news: queue.SimpleQueue[News] = field(default_factory=queue.SimpleQueue)
    _ended: dict[str, Ending] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)
    _started: int = 0

    def submit(self, job: Job) -> None:
        if not self.capacity.has_room_for(job.resources):
            raise ProtocolError(
                f"{job.name} asks for {job.resources}, and this machine has {self.capacity}. "
                "Ask for less: --cpus, --gpus, --memory"
            )
        self._waiting.append(job)

    def poll(self, report: Report, timeout_s: float) -> list[str]:
        self._start_what_fits()
        wait = 0.0 if self._ended else timeout_s
        try:
            self._hear(*self._news.get(timeout=wait) if wait else self._news.get_nowait(), report)
            while True:
                self._hear(*self._news.get_nowait(), report)
        except queue.Empty:
            pass
        self._start_what_fits()
        return list(self._ended)

    def collect(self, key: str) -> Ending:
        self._cancelled.discard(key)
        return self._ended.pop(key)

    def cancel(self, key: str) -> None:
        for worker in self._workers:
            if worker.job is not None and worker.job.key == key:
                self._cancelled.add(key)
                worker.stop()
                return
        if withdrawn(self._waiting, key):
            self._ended[key] = Ending(key, "preempted")

    def close(self) -> None:
        self._waiting.clear()
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def _start_what_fits(self) -> None:
        """Hand out jobs in their order; the first without room holds the rest back."""
        while self._waiting:
            job = self._waiting[0]
            gpu = self._room_for(job)
            if gpu is None:
                return
            self._worker_on(gpu).start(self._waiting.popleft())

    def _room_for(self, job: Job) -> str | None:
        """The GPU to use, "" for none; None while there is no room."""
        busy = [worker.job.resources for worker in self._workers if worker.job is not None]
        needed, total = job.resources, self.capacity
        if sum(r.cpus for r in busy) + needed.cpus > total.cpus:
            return None
        if sum(r.memory_gib for r in busy) + needed.memory_gib > total.memory_gib:
            return None
        if needed.gpus == 0:
            return ""
        load = {gpu: self._load_of(gpu) for gpu in total.gpus}
        best = min(load, key=lambda gpu: load[gpu])
        return best if load[best] + needed.gpus <= 1 + ROUNDING else None

    def _load_of(self, gpu: str) -> float:
        return sum(
            w.job.resources.gpus for w in self._workers if w.job is not None and w.gpu == gpu
        )

    def _worker_on(self, gpu: str) -> WorkerProcess:
        """An idle process that sees this GPU, or a new one in the place of an idle other."""
        idle = [worker for worker in self._workers if worker.job is None]
        for worker in idle:
            if worker.gpu == gpu:
                return worker
        if idle and len(self._workers) >= self.capacity.cpus:
            idle[0].close()
            self._workers.remove(idle[0])
        place = f"worker {self._started}"
        self._started += 1
        worker = WorkerProcess(self.work, place, gpu, self.logs / f"{place.replace(' ', '-')}.log")
        self._workers.append(worker)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        return worker

    def _listen(self, worker: WorkerProcess) -> None:
        for answer in worker.answers():
            self._news.put((worker, answer))
        self._news.put((worker, None))

    def _hear(self, worker: WorkerProcess, news: Update | Ending | None, report: Report) -> None:
        if isinstance(news, Update):
            report(news)
        elif isinstance(news, Ending):
            worker.job = None
            self._ended[news.key] = news
            if worker.stopping:  # it leaves after its last words
                self._workers.remove(worker)
                worker.close()
        elif worker in self._workers:  # not one that `close` or `_worker_on` ended
            self._workers.remove(worker)
            self._bury(worker)

    def _bury(self, worker: WorkerProcess) -> None:
        reason = worker.epitaph()
        if worker.job is None:
            return
        key = worker.job.key
        state: State = "preempted" if key in self._cancelled else "lost"
        self._ended[key] = Ending(key, state, None, "", reason, worker.place)
