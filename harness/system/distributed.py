"""Several processes, one run: thin wrappers that do nothing when there is one process.

Started by torchrun. Each process takes its slice of every global batch; gradients are averaged by
DistributedDataParallel; evaluation counts every image once; process 0 writes. The home folder is
shared by all processes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from harness.errors import ProtocolError
from harness.system.numbers import whole_number

T = TypeVar("T")


def rank() -> int:
    """Number of this process, 0 when alone; also before and after the group exists."""
    if dist.is_initialized():
        return dist.get_rank()
    return _number("RANK", "0") if _announced() > 1 else 0


def world_size() -> int:
    """Number of processes that work together now, 1 when alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def _announced() -> int:
    return _number("WORLD_SIZE", "1")


def _number(variable: str, default: str) -> int:
    try:
        return whole_number(os.environ.get(variable, default))
    except ValueError as error:
        msg = f"${variable} {error}. torchrun sets it; without torchrun: unset {variable}"
        raise ProtocolError(msg) from error


@contextmanager
def processes(device: str) -> Iterator[str]:
    """Join the group that torchrun announces, if any; the device of this process."""
    if _announced() == 1 or dist.is_initialized():
        yield device
        return
    cuda = device.startswith("cuda")
    if cuda:
        device = f"cuda:{_number('LOCAL_RANK', '0')}"
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


def agreed(*wishes: int) -> tuple[int, ...]:
    """The largest value of each wish over all processes, so that all of them do the same."""
    if world_size() == 1:
        return wishes
    return tuple(max(column) for column in zip(*_from_all(wishes), strict=True))


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers of process 0.

    Batch-norm statistics drift apart between steps; evaluation must see one network.
    """
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def refuse_differences(state: Callable[[], Mapping[str, object]], what: str) -> None:
    """Raise ProtocolError unless `state()` is the same in all processes.

    A method that decides from its own slice of the batch would mask every replica differently,
    and nothing else would notice.
    """
    if world_size() > 1 and len(set(_from_all(_digest(state())))) > 1:
        msg = (
            f"{what}: masks or counters differ between the {world_size()} processes, because they "
            "depend on the batch. Run it in one process, without torchrun"
        )
        raise ProtocolError(msg)


def gather_interleaved(parts: list[Tensor]) -> list[Tensor]:
    """Batches of all processes in their original order; process r holds batches r, r+W, ..."""
    if world_size() == 1:
        return parts
    everything = _from_all([part.cpu() for part in parts])
    longest = max(len(own) for own in everything)
    return [own[i] for i in range(longest) for own in everything if i < len(own)]


def wait_for_all() -> None:
    """Return when every process has arrived here."""
    if world_size() > 1:
        dist.barrier()


def _from_all(own: T) -> list[T]:
    """`own` of every process, by rank."""
    everything: list[T] = [own] * world_size()
    dist.all_gather_object(everything, own)
    return everything


def _digest(state: object) -> str:
    """A hash of nested mappings, lists, tensors and plain values."""
    if isinstance(state, Tensor):
        flat = state.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return hashlib.sha256(flat.numpy().tobytes()).hexdigest()
    if isinstance(state, Mapping):
        return _digest([(key, _digest(value)) for key, value in state.items()])
    if isinstance(state, list | tuple):
        state = [_digest(item) for item in state]
    return hashlib.sha256(repr(state).encode()).hexdigest()
