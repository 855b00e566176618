"""Runs pruned networks faster: zeros are skipped by sparse products.

    fast = harness.sparse.compile(model, torch.zeros(1, 3, 224, 224))
    logits = fast(images)
    print(fast.plan.table())
    fast.save("net.sparse")                       # harness.sparse.load("net.sparse") starts at once

Batch norms are folded, activations and residual sums fused, filters and channels that do not
matter removed; every layer then runs in whichever way was fastest on this machine, and so does
the whole: where skipping zeros does not pay, the model itself or onnxruntime runs. On a CUDA
device layers whose zeros follow the 2:4 pattern run on the sparse tensor cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.sparse.compile_plan import CompilePlan, LayerPlan
from harness.sparse.compiled import CompiledNetwork
from harness.sparse.dense_ways import onnx_session, quick_onnx, quiet_exporter
from harness.sparse.form_choice import (
    FORMS,
    Choices,
    GivenLayer,
    checked_forms,
    choose_forms,
    choose_rows,
    given_layers,
)
from harness.sparse.native.kernels import Kernels
from harness.sparse.network_choice import Slower, eager_network, fastest_network
from harness.sparse.operation_graph import MaxPool, OperationGraph
from harness.sparse.output_check import check_equal, refusal
from harness.sparse.planes.choice import kernels_for, plane_network, planned_planes
from harness.sparse.rewriting import simplify, split_columns
from harness.sparse.saved_network import planned_layers, read_network, say_measured_again
from harness.sparse.semi_structured import TwoFourNetwork, compile_two_four
from harness.sparse.tracing import copied, trace

__all__ = [
    "FORMS",
    "CompilePlan",
    "CompiledNetwork",
    "LayerPlan",
    "compile",
    "load",
    "onnx_session",
    "quick_onnx",
    "quiet_exporter",
]


def compile(
    model: nn.Module,
    example_input: Tensor,
    *,
    only: Sequence[str] | None = None,
    slower: Slower | None = None,
    impossible: Literal["refuse", "replace"] = "refuse",
) -> CompiledNetwork | TwoFourNetwork:
    """A module with the outputs of `model` in eval mode, measured to be as fast as possible.

    On CUDA: float16 inside, see `compile_two_four`; no option applies there.
    model: float32 on the CPU, zeros in place; it is copied, not changed. example_input: (N,C,H,W)
    or (N,...), N being the batch to be fast at; later inputs need its shape, any N. only: choose
    among these ways to run a convolution (see FORMS) instead of all; a layer that none of them fits
    runs densely. Layers of unknown kinds run as they are. With llvmlite installed (extra `sparse`)
    the native kernels are used; without it, the sparse products that PyTorch ships.

    The whole network is then timed in turns with eager execution, and with onnxruntime where it is
    installed, over batches of N. slower: what is handed out if one of these is faster: "replace"
    that one, "refuse" ProtocolError with both times, "keep" the sparse network all the same, with
    nothing compared. None is "keep" with `only` and "replace" without. impossible: what becomes of
    a model that cannot be compiled: "refuse" ProtocolError, "replace" the model itself.
    `plan.network` and printing the result say which it is, and why.

    The choice is a measurement with the current number of threads: compile on the machine and with
    the threads that will run the network. Raises ProtocolError for a model that torch.fx cannot
    trace, for other types or devices, and if the result does not compute what the model does, see
    harness.sparse.output_check.
    """
    if example_input.is_cuda:
        if (only, slower, impossible) != (None, None, "refuse"):
            msg = "`only`, `slower` and `impossible` choose among ways of the CPU"
            raise ProtocolError(f"{msg}; on CUDA there is one: 2:4")
        return compile_two_four(model, example_input)
    allowed = checked_forms(only)
    _check(model, example_input)
    images, model = example_input.detach(), copied(model)
    try:
        compiled = _sparse(model, images, allowed)
    except ProtocolError as error:
        if impossible == "refuse":
            raise
        return eager_network(model, images, str(error))
    slower = slower or ("keep" if only else "replace")
    return compiled if slower == "keep" else fastest_network(compiled, model, images, slower)


def _sparse(model: nn.Module, images: Tensor, allowed: Sequence[str]) -> CompiledNetwork:
    """The sparse network, every layer in the fastest allowed form."""
    network = trace(model, images[:1])
    given = given_layers(network)
    kernels = kernels_for(allowed)
    with torch.inference_mode():
        simplify(network)
        if kernels is None:
            split_columns(network)
        try:
            compiled = _measured(network, given, images, allowed, kernels)
        except RuntimeError as error:
            what = f"fails on a batch of {len(images)} images ({error})"
            raise refusal(model, what) from error
        check_equal(compiled, model)
        return compiled


def _measured(
    network: OperationGraph,
    given: dict[str, GivenLayer],
    images: Tensor,
    allowed: Sequence[str],
    kernels: Kernels | None,
) -> CompiledNetwork:
    """On planes with the native kernels, without them on tables."""
    if kernels is not None:
        return plane_network(network, given, images, kernels, allowed)
    choices = Choices(network, allowed)
    rows = choose_rows(choices)
    plan = CompilePlan(choose_forms(choices, rows, given), rows, torch.get_num_threads())
    return CompiledNetwork.of(network, choices, plan)


def load(path: str | Path) -> CompiledNetwork:
    """The network that `CompiledNetwork.save` wrote, as fast as it was, without the model's code.

    On another machine, with another number of threads or other versions every layer is measured
    again, which a StateWarning says. Raises ProtocolError without the file, DamagedFile for one
    that is damaged or of another version; nothing in a file is executed.
    """
    with ThreadPoolExecutor(1) as beside:  # LLVM needs no interpreter for most of its work
        made = beside.submit(kernels_for, FORMS)
        network, plan, differences = read_network(Path(path))
    # Columns that were split for the tables lie otherwise than planes do.
    split = any(isinstance(op, MaxPool) and op.split for op in network.operations)
    kernels = None if split else made.result()
    with torch.inference_mode():
        if differences:
            say_measured_again(Path(path), differences)
            images = torch.rand(plan.network.batch, *network.shapes[network.input][1:])
            layers = planned_layers(network, plan)
            return _measured(network, layers, images, FORMS, kernels)
        if kernels is not None and not plan.rows_per_block:
            return planned_planes(network, plan, kernels)
        return CompiledNetwork.of(network, Choices(network, FORMS), plan)


def _check(model: nn.Module, example_input: Tensor) -> None:
    for name, tensor in [*model.named_parameters(), ("the example input", example_input)]:
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            msg = (
                f"{name} is {tensor.dtype} on {tensor.device}; the sparse runtime computes in "
                "float32 on the CPU. Convert with model.float().cpu()"
            )
            raise ProtocolError(msg)
    if example_input.dim() < 2 or not example_input.numel():
        shape = tuple(example_input.shape)
        raise ProtocolError(f"the example input needs a batch and values in it, not {shape}")
