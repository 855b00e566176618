"""What this machine can give to jobs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from harness.launch.jobs import Resources


@dataclass(frozen=True, slots=True)
class Capacity:
    """CPUs, GPUs by the names that CUDA_VISIBLE_DEVICES takes, and memory."""

    cpus: int
    gpus: tuple[str, ...] = ()
    memory_gib: float = 1e9

    def has_room_for(self, needed: Resources) -> bool:
        """Whether one such job could ever run here."""
        return (
            needed.cpus <= self.cpus
            and needed.memory_gib <= self.memory_gib
            and (needed.gpus == 0 or bool(self.gpus))
        )


def this_machine(device: str) -> Capacity:
    """All CPUs that this process may use, its memory, and its GPUs if `device` is one."""
    memory = Path("/proc/meminfo")
    gib = 1e9
    if memory.exists():
        total = next(x for x in memory.read_text().splitlines() if x.startswith("MemTotal:"))
        gib = int(total.split()[1]) / 2**20
    return Capacity(_cpus(), _gpus() if device.startswith("cuda") else (), gib)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> tuple[str, ...]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name for name in named.split(",") if name)
    import torch

    return tuple(str(index) for index in range(torch.cuda.device_count()))
