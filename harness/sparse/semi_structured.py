"""2:4 sparsity on CUDA: two of every four weights are zero, which tensor cores can skip.

    fast = harness.sparse.compile(model.cuda(), images.cuda())   # float16 inside

PyTorch's semi-structured tensors multiply matrices of 16-bit floats only, on GPUs of compute
capability 8.0 or later. Linear layers are such products; convolutions become them by im2col on
channels-last activations, which is free for 1x1 kernels. A layer changes over only where that is
faster on the GPU at hand.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.sparse.compile_plan import CompilePlan, LayerPlan
from methods.effective_weight import has_own_forward

GROUP, KEPT = 4, 2
MINIMUM = (8, 0)  # compute capability of the first GPUs with sparse tensor cores
# Rows and columns of a weight come in multiples of these in every kernel behind PyTorch's tensors.
ROW_STEP, COLUMN_STEP = 32, 64
REPEATS = 20
DTYPES = (torch.float16, torch.bfloat16)


def as_matrix(weight: Tensor) -> Tensor:
    """(O,I,kh,kw) as (O, kh*kw*I), so that groups of four run along the input channels as 2:4
    training forms them; a linear weight as it is."""
    return weight if weight.dim() == 2 else weight.permute(0, 2, 3, 1).flatten(1)


def follows_pattern(weight: Tensor) -> bool:
    """Whether at most two of every four consecutive weights of a row of the matrix are non-zero;
    False where rows are no multiple of four."""
    matrix = as_matrix(weight)
    if matrix.shape[1] % GROUP:
        return False
    return int(matrix.reshape(-1, GROUP).count_nonzero(1).max()) <= KEPT


def eligible(layer: nn.Module) -> bool:
    """Whether a layer can run as a 2:4 product: its kind, its shape, its zeros."""
    if isinstance(layer, nn.Conv2d):
        if layer.groups != 1 or layer.dilation != (1, 1) or layer.padding_mode != "zeros":
            return False
        if isinstance(layer.padding, str):
            return False
    elif not isinstance(layer, nn.Linear):
        return False
    if has_own_forward(layer):  # it may multiply by something else than its weight
        return False
    high, wide = as_matrix(layer.weight).shape
    return high % ROW_STEP == 0 and wide % COLUMN_STEP == 0 and follows_pattern(layer.weight)


class ProductLinear(nn.Module):
    """features @ matrix.T + bias; `matrix` dense or semi-structured."""

    def __init__(self, matrix: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.matrix, self.bias = matrix, bias

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(features, self.matrix, self.bias)


class ProductConvolution(nn.Module):
    """A convolution as im2col and one product with `matrix` (O, kh*kw*I), dense or
    semi-structured; the result is channels last."""

    def __init__(self, layer: nn.Conv2d, matrix: Tensor) -> None:
        super().__init__()
        assert not isinstance(layer.padding, str)  # see `eligible`
        self.matrix, self.bias = matrix, layer.bias
        self.kernel, self.stride = layer.kernel_size, layer.stride
        self.padding = layer.padding

    def forward(self, images: Tensor) -> Tensor:
        last = images.permute(0, 2, 3, 1)
        (top, left), (down, right) = self.padding, self.stride
        if top or left:
            last = F.pad(last, (0, 0, left, left, top, top))
        windows = last.unfold(1, self.kernel[0], down).unfold(2, self.kernel[1], right)
        count, high, wide = windows.shape[:3]
        columns = windows.permute(0, 1, 2, 4, 5, 3).reshape(count * high * wide, -1)
        result = F.linear(columns, self.matrix, self.bias)
        return result.view(count, high, wide, -1).permute(0, 3, 1, 2)


class TwoFourNetwork(nn.Module):
    """Computes in 16-bit floats and answers in the type of its input.

    plan: both times of each layer that follows the pattern, and the way chosen.
    """

    def __init__(self, network: nn.Module, plan: CompilePlan, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.plan, self.dtype = network, plan, dtype

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.to(self.dtype))
        return logits.to(images.dtype)


def compile_two_four(
    model: nn.Module, example_input: Tensor, dtype: torch.dtype = torch.float16
) -> TwoFourNetwork:
    """A copy of `model` in eval mode and `dtype`, its layers as 2:4 products where that is faster
    for `example_input`.

    Raises ProtocolError without a CUDA device that has sparse tensor cores, for another dtype, and
    for a model in which no layer follows the pattern.
    """
    _check(example_input, dtype)
    fast = copy.deepcopy(model).eval().to(example_input.device, dtype)
    fast = fast.to(memory_format=torch.channels_last)
    candidates = {name: layer for name, layer in fast.named_modules() if eligible(layer)}
    if not candidates:
        raise ProtocolError(
            "no layer follows the 2:4 pattern with a weight of 32n rows and 64n columns. Prune "
            "with allocation 2:4, or use harness.sparse.compile for unstructured zeros"
        )
    inputs = _inputs(fast, candidates, example_input.to(dtype))
    plans = []
    for name, value in inputs.items():  # a layer that is never called lends its weight at most
        layer = candidates[name]
        plan, chosen = _choose(name, layer, value)
        plans.append(plan)
        if chosen is not layer:
            fast.set_submodule(name, chosen)
    return TwoFourNetwork(fast, CompilePlan(tuple(plans), {}, torch.get_num_threads()), dtype)


def _check(example_input: Tensor, dtype: torch.dtype) -> None:
    if dtype not in DTYPES:
        raise ProtocolError(f"2:4 products need float16 or bfloat16, not {dtype}")
    if not example_input.is_cuda:
        raise ProtocolError(
            f"2:4 products run on CUDA devices only; the example is on {example_input.device}. "
            "Move model and example to a GPU, or use harness.sparse.compile on the CPU"
        )
    found = torch.cuda.get_device_capability(example_input.device)
    if found < MINIMUM:
        raise ProtocolError(
            f"compute capability {found[0]}.{found[1]} has no sparse tensor cores; 8.0 is needed"
        )


def _inputs(
    model: nn.Module, layers: dict[str, nn.Module], example_input: Tensor
) -> dict[str, Tensor]:
    """What each layer reads when the model runs on the example."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, arguments: seen.update({name: arguments[0]})

    handles = [layer.register_forward_pre_hook(keep(name)) for name, layer in layers.items()]
    try:
        with torch.inference_mode():
            model(example_input)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _choose(name: str, layer: nn.Module, value: Tensor) -> tuple[LayerPlan, nn.Module]:
    assert isinstance(layer, nn.Conv2d | nn.Linear)  # see `eligible`
    sparse = as_product(layer, torch.sparse.to_sparse_semi_structured)
    with torch.inference_mode():
        positions = layer(value).numel() // len(value) // len(layer.weight)
        ms = {"2:4": _milliseconds(sparse, value), "dense": _milliseconds(layer, value)}
    form = min(ms, key=lambda way: ms[way])
    total, nnz = layer.weight.numel(), int(layer.weight.count_nonzero())
    plan = LayerPlan(
        name=name,
        shape=tuple(layer.weight.shape),
        density=nnz / total,
        macs_dense=total * positions,
        macs_sparse=nnz * positions,
        form=form,
        ms=ms,
    )
    return plan, sparse if form == "2:4" else layer


def as_product(layer: nn.Conv2d | nn.Linear, convert: Callable[[Tensor], Tensor]) -> nn.Module:
    """The layer as one product with its weight matrix, which `convert` may compress."""
    matrix = convert(as_matrix(layer.weight.detach()).contiguous())
    if isinstance(layer, nn.Linear):
        return ProductLinear(matrix, layer.bias)
    return ProductConvolution(layer, matrix)


def _milliseconds(layer: nn.Module, value: Tensor) -> float:
    """The shortest of several runs on the GPU, each waited for."""
    layer(value)
    shortest = float("inf")
    for _ in range(REPEATS):
        torch.cuda.synchronize(value.device)
        start = time.perf_counter()
        layer(value)
        torch.cuda.synchronize(value.device)
        shortest = min(shortest, time.perf_counter() - start)
    return 1e3 * shortest
