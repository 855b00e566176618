"""Runs pruned networks faster: zeros are skipped by sparse products.

    fast = harness.sparse.compile(model, torch.zeros(1, 3, 224, 224))
    logits = fast(images)
    print(fast.plan.table())

Batch norms are folded, activations and residual sums fused, filters and channels that do not
matter removed; every layer then runs in whichever way was fastest on this machine. On a CUDA
device layers whose zeros follow the 2:4 pattern run on the sparse tensor cores.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.sparse.compile_plan import CompilePlan, LayerPlan
from harness.sparse.compiled import CompiledNetwork
from harness.sparse.form_choice import (
    FORMS,
    Choices,
    checked_forms,
    choose_forms,
    choose_rows,
    given_layers,
)
from harness.sparse.output_check import check_equal
from harness.sparse.rewriting import simplify
from harness.sparse.semi_structured import TwoFourNetwork, compile_two_four
from harness.sparse.tracing import copied, trace

__all__ = ["FORMS", "CompiledNetwork", "LayerPlan", "Plan", "compile"]


def compile(
    model: nn.Module, example_input: Tensor, *, only: Sequence[str] | None = None
) -> CompiledNetwork | TwoFourNetwork:
    """A module with the outputs of `model` in eval mode, measured to be as fast as possible.

    On CUDA: float16 inside, see `compile_two_four`; `only` does not apply there.
    model: float32 on the CPU, zeros in place; it is copied, not changed. example_input: (N,C,H,W)
    or (N,...), of which the first image is used; later inputs need its shape. only: choose among
    these ways to run a convolution (see FORMS) instead of all; a layer that none of them fits runs
    densely. Layers of unknown kinds run as they are. The choice is a measurement with the current
    number of threads: compile on the machine and with the threads that will run the network.
    Raises ProtocolError for a model that torch.fx cannot trace, for other types or devices, and
    if the result does not compute what the model does, see harness.sparse.output_check.
    """
    if example_input.is_cuda:
        if only is not None:
            raise ProtocolError("`only` chooses among ways of the CPU; on CUDA there is one: 2:4")
        return compile_two_four(model, example_input)
    allowed = checked_forms(only)
    _check(model, example_input)
    image = example_input[:1].detach()
    model = copied(model)
    network = trace(model, image)
    given = given_layers(network)
    simplify(network)
    with torch.inference_mode():
        choices = Choices(network, allowed)
        rows = choose_rows(choices)
        plan = CompilePlan(choose_forms(choices, rows, given), rows, torch.get_num_threads())
        compiled = CompiledNetwork(network, choices, plan)
        check_equal(compiled, model)
        return compiled


def _check(model: nn.Module, example_input: Tensor) -> None:
    for name, tensor in [*model.named_parameters(), ("the example input", example_input)]:
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            msg = (
                f"{name} is {tensor.dtype} on {tensor.device}; the sparse runtime computes in "
                "float32 on the CPU. Convert with model.float().cpu()"
            )
            raise ProtocolError(msg)
    if example_input.dim() < 2 or len(example_input) < 1:
        raise ProtocolError(f"the example input needs a batch, not {tuple(example_input.shape)}")
