"""Threads that run a native program together with the one that calls it.

They are those of PyTorch's own operations where these come from OpenMP: other ones would take turns
on the cores with those, which look for work a while after every operation instead of sleeping.
"""

from __future__ import annotations

import ctypes
import os
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from harness.sparse.native.kernels import Kernels


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
    forked: bool = False

    def grow(self, count: int) -> None:
        while len(self.queues) < count:
            self.queues.append(SimpleQueue())
            threading.Thread(target=_work, args=(self.queues[-1],), daemon=True).start()


_CREWS = [NativeThreads()]


def _forget() -> None:
    """In a forked process the threads are gone, and the lock may have been held for ever."""
    _CREWS[0] = NativeThreads(forked=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_together(
    kernels: Kernels,
    program: tuple[int, int, int],
    images: int,
    count: int,
    work: int,
    threads: int,
) -> None:
    """Run steps on `count` images.

    program: addresses of the first step, of the first one of the tail, and behind the last one.
    images: address of what is handed in. work: how many images go through the tail together.
    """
    arguments = (*program, images, count, work)
    if threads == 1:
        kernels.run(*arguments, 0, 1, 0, 0)
    elif _CREWS[0].forked or not _run_by_openmp(kernels, arguments, threads):
        _run_by_crew(kernels, arguments, threads)


@dataclass(frozen=True)
class OpenMP:
    """What PyTorch's OpenMP offers: a function that starts a parallel region, and the addresses of
    those that tell the number of a thread in it, and how many there are."""

    parallel: Any
    number: int
    threads: int


@cache
def _openmp() -> OpenMP | None:
    """None where PyTorch has no OpenMP of the kind that GCC calls."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        parallel = library.GOMP_parallel  # of whichever library PyTorch itself is bound to
        parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        parallel.restype = None
        number, threads = library.omp_get_thread_num, library.omp_get_num_threads
    except (AttributeError, OSError):
        return None
    return OpenMP(parallel, _address(number), _address(threads))


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _run_by_openmp(kernels: Kernels, arguments: tuple[int, ...], threads: int) -> bool:
    """False if nothing was run, because there are not as many threads to have."""
    openmp = _openmp()
    if openmp is None:
        return False
    # the last two: the counter of the barrier, and whether the threads were there
    shared = (ctypes.c_int64 * 12)(
        openmp.number, openmp.threads, *arguments, threads, kernels.pause, 0, 0
    )
    openmp.parallel(kernels.team, ctypes.addressof(shared), threads, 0)
    return bool(shared[-1])


def _run_by_crew(kernels: Kernels, arguments: tuple[int, ...], threads: int) -> None:
    crew, run = _CREWS[0], NativeRun(kernels)
    with crew.running:
        crew.grow(threads - 1)
        calls = [
            (*arguments, n, threads, run.counter.data_ptr(), kernels.pause) for n in range(threads)
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
