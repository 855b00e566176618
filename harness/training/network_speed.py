"""How fast a network is computed while it trains: layout, compiler, CUDA graphs, precision."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.registry import later


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast to compute. Anything but the default is recorded with the result.

    cuda_graphs: the compiled forward and backward passes are replayed as CUDA graphs, so that a
    small network does not wait for its launches; one graph per batch size. Implies compile.
    """

    channels_last: bool = False
    compile: bool = False
    cuda_graphs: bool = later(False)


def as_called(network: nn.Module, speed: Speed, device: str) -> Callable[[Tensor], Tensor]:
    """The network as its steps call it. Raises ProtocolError for graphs on another device."""
    if speed.cuda_graphs and torch.device(device).type != "cuda":
        msg = f"CUDA graphs need a CUDA device, and the training is on {device}"
        raise ProtocolError(f"{msg}. Leave out --cuda-graphs, or add --device cuda")
    compiled: Callable[[Tensor], Tensor] = network
    if speed.cuda_graphs:
        compiled = torch.compile(network, mode="reduce-overhead", dynamic=False)
    elif speed.compile:
        compiled = torch.compile(network)
    return compiled


def autocast(precision: str, device: str) -> AbstractContextManager[object]:
    """The forward pass in the recipe's precision."""
    if precision == "fp32":
        return nullcontext()
    kind = torch.bfloat16 if precision == "amp-bf16" else torch.float16
    return torch.autocast(torch.device(device).type, dtype=kind)
