"""Pictures decoded by worker processes, put where they are wanted.

The workers are plain child processes behind pipes. Neither a fork of a process full of threads nor
an import of the caller's main module is needed, so this works from any program; and a worker ends
with the process it works for, however that one ends.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from harness.data.decode_worker import READY
from harness.errors import DataError

R = TypeVar("R")

CHUNK = 25  # pictures per job: some 60 ms of decoding, so waiting for the next one is nothing
AHEAD = 3  # batches being filled while one is used


@dataclass(frozen=True, slots=True)
class Transform:
    """Reference preprocessing: short side to `resize` pixels (None: as it is), centre `crop`."""

    resize: int | None
    crop: int
    interpolation: str = "bilinear"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, crop, crop), the shape of one decoded picture."""
        return 3, self.crop, self.crop


def cores() -> int:
    """Cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


class Decoders:
    """Worker processes, one per core unless told otherwise; a context manager that ends them.

    decode() may be called from any thread; jobs are taken in the order they were given.
    """

    def __init__(self, transform: Transform, workers: int | None = None) -> None:
        self._transform = transform
        self._own = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        # One thread per process waits for it and copies; both leave Python to the others.
        self._threads = ThreadPoolExecutor(workers or cores(), thread_name_prefix="decode")

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        if kind is not None:  # nobody waits for what is still being decoded
            for process in self._processes:
                process.kill()
        self._threads.shutdown(wait=True)
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # a job that the killed process never read
                        pipe.close()
            process.wait()

    def decode(
        self, files: Sequence[Path], out: np.ndarray, then: Callable[[np.ndarray], R]
    ) -> Future[R]:
        """Fill `out`, uint8 (N, 3, crop, crop), with the pictures of N <= CHUNK files.

        The future's result is `then(out)`, worked out beside the decoding of others; it raises
        DataError naming the file that is no readable picture.
        """
        return self._threads.submit(self._one_job, files, out, then)

    def _one_job(
        self, files: Sequence[Path], out: np.ndarray, then: Callable[[np.ndarray], R]
    ) -> R:
        if not hasattr(self._own, "worker"):
            self._own.worker = self._started()
        process, slots = self._own.worker
        names = json.dumps([str(file) for file in files]).encode()
        answer = _answer(process, names + b"\n")
        if not answer:
            msg = (
                f"a decoding process ended (exit code {process.wait()}) at one of {len(files)} "
                f"pictures from {files[0]} on. Out of memory? Try again, or with fewer cores."
            )
            raise DataError(msg)
        if answer != READY:
            raise DataError(json.loads(answer))
        out[...] = slots[: len(files)]
        return then(out)

    def _started(self) -> tuple[subprocess.Popen[bytes], np.ndarray]:
        """A worker and the pictures it shares with this process, uint8 (CHUNK, 3, crop, crop)."""
        transform, shape = self._transform, (CHUNK, *self._transform.shape)
        with tempfile.NamedTemporaryFile(prefix="decode-") as file:
            file.truncate(prod(shape))
            shared = mmap.mmap(file.fileno(), prod(shape))
            resize = "none" if transform.resize is None else transform.resize
            arguments = (file.name, CHUNK, resize, transform.crop, transform.interpolation)
            process = subprocess.Popen(
                [sys.executable, "-m", "harness.data.decode_worker", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            )
            self._processes.append(process)
            if _answer(process, b"") != READY:
                raise DataError(f"no decoding process starts (exit code {process.wait()})")
        # Mapped by both, so its name is no longer needed: nothing is left over after a kill.
        return process, np.frombuffer(shared, np.uint8).reshape(shape)


def _answer(process: subprocess.Popen[bytes], job: bytes) -> bytes:
    """The worker's next line after `job`; empty when it has ended."""
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(job)
        process.stdin.flush()
        return process.stdout.readline()
    except (BrokenPipeError, ValueError):  # ValueError: closed by __exit__
        return b""


def in_batches(
    files: Sequence[Path], transform: Transform, batch_size: int, workers: int | None = None
) -> Iterator[np.ndarray]:
    """The pictures in order as uint8 (B, 3, crop, crop), decoded ahead by worker processes.

    Each array is the caller's. Raises DataError naming an unreadable file, in its place.
    """
    jobs = -(-len(files) // CHUNK)
    with Decoders(transform, min(workers or cores(), jobs)) as decoders:
        starts = range(0, len(files), batch_size)
        wanted = (files[start : start + batch_size] for start in starts)
        running = [_begin(decoders, part, transform.shape) for part in islice(wanted, AHEAD)]
        while running:
            batch, futures = running.pop(0)
            for future in futures:
                future.result()
            running += [_begin(decoders, part, transform.shape) for part in islice(wanted, 1)]
            yield batch


def _begin(
    decoders: Decoders, files: Sequence[Path], shape: tuple[int, int, int]
) -> tuple[np.ndarray, list[Future[int]]]:
    batch = np.empty((len(files), *shape), np.uint8)
    return batch, [
        decoders.decode(files[start : start + CHUNK], batch[start : start + CHUNK], len)
        for start in range(0, len(files), CHUNK)
    ]
