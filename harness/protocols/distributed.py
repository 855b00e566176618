"""Several processes, one run: thin wrappers that do nothing when there is one process.

Started by torchrun. Each process takes its slice of every global batch; gradients are averaged by
DistributedDataParallel; evaluation counts every image once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch import distributed as dist


def rank() -> int:
    """Number of this process, 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 when alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def processes(device: str) -> Iterator[str]:
    """Join the group that torchrun announces, if any; the device of this process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield device
        return
    cuda = device.startswith("cuda")
    if cuda:
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def replicate(model: nn.Module, device: str) -> nn.Module:
    """`model`, with gradients averaged over processes."""
    if world_size() == 1:
        return model
    ids = [torch.device(device).index] if device.startswith("cuda") else None
    # Gates after their cool-down and layers that never run have no gradient in some steps.
    return nn.parallel.DistributedDataParallel(model, device_ids=ids, find_unused_parameters=True)


def sum_over_processes(values: Tensor) -> Tensor:
    """Sum of `values` over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def gather_interleaved(parts: list[Tensor]) -> list[Tensor]:
    """Batches of all processes in their original order; process r holds batches r, r+W, ..."""
    if world_size() == 1:
        return parts
    everything: list[list[Tensor]] = [[] for _ in range(world_size())]
    dist.all_gather_object(everything, [part.cpu() for part in parts])
    longest = max(len(own) for own in everything)
    return [own[i] for i in range(longest) for own in everything if i < len(own)]


def wait_for_all() -> None:
    """Return when every process has arrived here."""
    if world_size() > 1:
        dist.barrier()
