"""Threads that run a native program together with the one that calls it."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import torch

from harness.sparse.native_kernels import Kernels

_RUNNING = threading.Lock()  # threads wait for each other inside a program: one at a time
_QUEUES: list[SimpleQueue[tuple[Kernels, tuple[int, ...]]]] = []
_DONE: SimpleQueue[None] = SimpleQueue()
_COUNTER = torch.zeros(8, dtype=torch.int64)  # of arrivals at barriers, a cache line of its own


def run_together(
    kernels: Kernels, program: tuple[int, int], images: int, count: int, group: int, threads: int
) -> None:
    """Run the steps from program[0] to program[1] (addresses) on `count` images.

    images: address of what is handed in. group: images that a thread takes at a time.
    """
    with _RUNNING:
        while len(_QUEUES) < threads - 1:
            _QUEUES.append(SimpleQueue())
            threading.Thread(target=_work, args=(_QUEUES[-1],), daemon=True).start()
        _COUNTER.zero_()
        calls = [
            (*program, images, count, group, n, threads, _COUNTER.data_ptr(), kernels.pause)
            for n in range(threads)
        ]
        for queue, call in zip(_QUEUES, calls[1:], strict=False):
            queue.put((kernels, call))
        kernels.run(*calls[0])
        for _ in calls[1:]:
            _DONE.get()


def _work(queue: SimpleQueue[tuple[Kernels, tuple[int, ...]]]) -> None:
    while True:
        kernels, call = queue.get()
        kernels.run(*call)  # without the interpreter's lock
        _DONE.put(None)
