"""Peak memory of one way of running a network, in a process of its own.

On a CPU: how far resident memory rises, while the network runs, above that of a process that has
only loaded the libraries; weights are included, what conversion and compilation needed is not. On
CUDA: the most that torch's allocator held. Linux keeps the peak that the CPU figure is read from;
elsewhere there is none.
"""

from __future__ import annotations

import ctypes
import gc
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.profile.backends import RUNNERS

MEANING = {
    "cpu": "rise of resident memory while running, above a process with the libraries loaded",
    "cuda": "most memory held by torch's allocator while running",
}
PASSES = 2
TIMEOUT_S = 600
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def peak_bytes(backend: str, network: nn.Module, converted: Any, images: Tensor) -> int | None:
    """Peak bytes of `converted` (by the backend, from `network`) run on `images`; None if unknown.

    What cannot be handed to a process is converted there once more. Unknown where the system keeps
    no peak, or when the network cannot be handed over either.
    """
    if images.device.type == "cpu" and not _CLEAR.exists():
        return None
    ready = _pickled(converted)
    given = ready or _pickled(network)
    if given is None:
        return None
    job = _MemoryJob(
        backend, tuple(images.shape), str(images.device), torch.get_num_threads(), bool(ready)
    )
    done = subprocess.run(
        [sys.executable, "-m", "harness.profile.memory"],
        input=pickle.dumps(tuple(job)) + given,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return int(json.loads(done.stdout)) if done.returncode == 0 else None


class _MemoryJob(NamedTuple):
    """What the child process gets before the network."""

    backend: str
    shape: tuple[int, ...]
    device: str
    threads: int
    converted: bool


def _pickled(what: Any) -> bytes | None:
    try:
        return pickle.dumps(what)
    except (pickle.PicklingError, TypeError, AttributeError, RuntimeError):
        return None


def _measure() -> int:
    """The child's side: job and network come through stdin, from the parent only."""
    job = _MemoryJob(*pickle.load(sys.stdin.buffer))
    torch.set_num_threads(job.threads)
    images = torch.randn(job.shape, device=job.device)
    _give_back()
    before = 0 if images.is_cuda else _resident("VmRSS")
    backend, given = RUNNERS[job.backend], pickle.load(sys.stdin.buffer)
    forward = backend.start(given if job.converted else backend.convert(given, images), images)
    del given
    with torch.inference_mode():
        forward(images)
        return _peak_of(lambda: forward(images), images) - before


def _peak_of(run: Callable[[], object], images: Tensor) -> int:
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats(images.device)
    else:
        _give_back()
        _CLEAR.write_text(_RESET_PEAK)
    for _ in range(PASSES):
        run()
    return torch.cuda.max_memory_allocated(images.device) if images.is_cuda else _resident("VmHWM")


def _give_back() -> None:
    """Return freed memory to the system, so that it does not count as resident."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _resident(field: str) -> int:
    """Bytes of a field of this process's status, which is written in kB."""
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


if __name__ == "__main__":
    print(_measure())
