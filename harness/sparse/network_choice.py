"""Hands out the fastest way to run the whole network, sparse or not, or refuses a slower one."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.sparse.compile_plan import SPARSE, CompilePlan, NetworkChoice
from harness.sparse.compiled import CompiledNetwork
from harness.sparse.dense_ways import EAGER, dense_ways
from harness.sparse.network_timing import fastest, times_in_turns
from harness.sparse.output_check import check_equal

Slower = Literal["replace", "refuse", "keep"]


def fastest_network(
    compiled: CompiledNetwork, model: nn.Module, images: Tensor, slower: Slower
) -> CompiledNetwork:
    """`compiled`, or the dense way that was faster for batches like `images`; plan.network says it.

    model: what it was compiled from, in eval mode. Raises ProtocolError with both times for a
    sparse network that is slower where `slower` says "refuse".
    """
    choice, networks = _measured(compiled, model, images)
    if slower == "refuse" and choice.way != SPARSE:
        msg = (
            f"{type(model).__name__} is not faster when its zeros are skipped: sparse "
            f"{choice.ms[SPARSE].p50:.2f} ms, {choice.way} {choice.ms[choice.way].p50:.2f} ms, "
            f"batch {choice.batch}, {compiled.plan.threads} threads. Run it with {choice.way}, or "
            'compile with slower="replace" (hands out the faster one) or "keep"'
        )
        raise ProtocolError(msg)
    return networks[choice.way]


def eager_network(model: nn.Module, images: Tensor, reason: str) -> CompiledNetwork:
    """The model itself, which could not be compiled; `reason` stands in its plan.

    No other runtime is tried: recording one pass would lose what depends on values. Raises
    ProtocolError with that reason if the model does not make one float32 tensor of images.
    """
    with torch.inference_mode():
        output = model(images)
    if not isinstance(output, Tensor) or output.dtype != torch.float32:
        raise ProtocolError(reason)
    choice = NetworkChoice(EAGER, len(images), left_out={SPARSE: reason})
    plan = CompilePlan((), {}, torch.get_num_threads(), choice)
    return CompiledNetwork(model, images.shape[1:], plan)


def _fault(name: str, network: CompiledNetwork, model: nn.Module) -> dict[str, str]:
    """Why a way is no stand-in for the model, by its name; {} if it is one."""
    try:
        if name != EAGER:
            with torch.inference_mode():
                check_equal(network, model)
    except ProtocolError:
        return {name: "its outputs are not those of the model"}
    except Exception as error:  # of another runtime
        return {name: f"it takes no other number of images: {type(error).__name__}"}
    return {}


def _measured(
    compiled: CompiledNetwork, model: nn.Module, images: Tensor
) -> tuple[NetworkChoice, dict[str, CompiledNetwork]]:
    """The choice among `compiled` and all dense ways; each network knows it by its plan."""
    networks = {SPARSE: compiled}
    ways, left_out = dense_ways(model, images)
    for name, forward in ways.items():
        network = CompiledNetwork(forward, images.shape[1:], compiled.plan)
        left_out |= _fault(name, network, model)
        if name not in left_out:
            networks[name] = network
    with torch.inference_mode():
        times = times_in_turns(networks, images)
    choice = NetworkChoice(fastest(times), len(images), times, left_out)
    plan = replace(compiled.plan, network=choice)
    for network in networks.values():
        network.plan = plan
    return choice, networks
