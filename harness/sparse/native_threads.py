"""Threads that run a native program together with the one that calls it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from queue import SimpleQueue

import torch
from torch import Tensor

from harness.sparse.native_kernels import Kernels


@dataclass
class NativeRun:
    """One run of a program: what all its threads share, kept until the last one is done."""

    kernels: Kernels
    counter: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.int64))
    done: SimpleQueue[None] = field(default_factory=SimpleQueue)


@dataclass
class NativeThreads:
    """Waiting threads. They wait for each other inside a program, so one program runs at a time."""

    queues: list[SimpleQueue[tuple[NativeRun, tuple[int, ...]]]] = field(default_factory=list)
    running: threading.Lock = field(default_factory=threading.Lock)

    def grow(self, count: int) -> None:
        while len(self.queues) < count:
            self.queues.append(SimpleQueue())
            threading.Thread(target=_work, args=(self.queues[-1],), daemon=True).start()


_CREWS = [NativeThreads()]


def _forget() -> None:
    """In a forked process the threads are gone, and the lock may have been held for ever."""
    _CREWS[0] = NativeThreads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_together(
    kernels: Kernels, program: tuple[int, int], images: int, count: int, group: int, threads: int
) -> None:
    """Run the steps from program[0] to program[1] (addresses) on `count` images.

    images: address of what is handed in. group: images that a thread takes at a time.
    """
    crew, run = _CREWS[0], NativeRun(kernels)
    with crew.running:
        crew.grow(threads - 1)
        calls = [
            (*program, images, count, group, n, threads, run.counter.data_ptr(), kernels.pause)
            for n in range(threads)
        ]
        for queue, call in zip(crew.queues, calls[1:], strict=False):
            queue.put((run, call))
        kernels.run(*calls[0])
        for _ in calls[1:]:
            run.done.get()


def _work(queue: SimpleQueue[tuple[NativeRun, tuple[int, ...]]]) -> None:
    while True:
        run, call = queue.get()
        run.kernels.run(*call)  # without the interpreter's lock
        run.done.put(None)
