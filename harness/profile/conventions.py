"""The same network in the units each paper printed. Published figures are converted to ours never;
ours are converted to theirs, and compared there.

Convention ids (field `flops_convention` of a paper):
  macs                  conv + linear multiply-accumulates x density (STR, DNW, GMP, dense)
  2x-macs-bn-relu-pool  2 per multiply-accumulate, plus biases, batch norm, ReLU and pooling (AC/DC)
  rd-macs-ratio         percent of dense multiply-accumulates, one bias term per position (RD_PRUNE)
  ftwt-reported         percent of dense, per-sample active filters (FTWT; measured while running)
  ip-kept-ratio         share of parameters in kept rows (IPruning; from the method's state)
  macs-times-activations  percent of dense multiply-accumulates, zero weights and zero inputs both
                        skipped (Han et al. 2015; measured on images)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.errors import MetricError
from harness.profile.macs import total_macs
from harness.results import LayerCost

if TYPE_CHECKING:
    from torch import nn

CONVENTIONS = (
    "macs",
    "2x-macs-bn-relu-pool",
    "rd-macs-ratio",
    "ftwt-reported",
    "ip-kept-ratio",
    "macs-times-activations",
)


def remaining_pct(layers: Sequence[LayerCost], biased: frozenset[str], convention: str) -> float:
    """Percent of the dense cost that is left, in the paper's convention, 0..100.

    biased: names of layers that have a bias (RD_PRUNE counts one per output position).
    Raises MetricError if the convention cannot be computed from zeros alone.
    """
    if convention == "macs":
        dense, effective = total_macs(layers)
        return 100.0 * effective / dense
    if convention == "rd-macs-ratio":
        run = [x for x in layers if x.macs_dense]
        bias = sum(x.positions for x in run if x.name in biased)
        left = sum(x.positions * x.nnz for x in run) + bias
        return 100.0 * left / (sum(x.macs_dense for x in run) + bias)
    msg = f"convention {convention!r} is not a ratio of zeros to weights; known: {CONVENTIONS}"
    raise MetricError(msg)


def acdc_flops(
    model: nn.Module, layers: Sequence[LayerCost], input_shape: tuple[int, int, int]
) -> int:
    """AC/DC's FLOPs of one image (spec section 2.3): 2 per non-zero multiply-accumulate.

    Conv (2*nnz + bias*out)*positions; linear 2*nnz + bias; batch norm 2 per input element; ReLU
    modules 1; max and average pooling k*k per output. Adaptive average pooling counts as the fixed
    pooling it stands for (the papers' networks use AvgPool2d there).
    """
    import torch
    from torch import nn

    extra = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal extra
        size = inputs[0].numel()
        if isinstance(module, nn.Conv2d):
            extra += output.numel() if module.bias is not None else 0
        elif isinstance(module, nn.Linear):
            extra += module.out_features if module.bias is not None else 0
        elif isinstance(module, nn.BatchNorm2d):
            extra += 2 * size
        elif isinstance(module, nn.ReLU):
            extra += size
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
            kernel = module.kernel_size
            area = kernel * kernel if isinstance(kernel, int) else kernel[0] * kernel[1]
            extra += area * output.numel()
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            extra += size

    handles = [module.register_forward_hook(count) for module in model.modules()]
    was_training = model.training
    try:
        with torch.no_grad():
            parameter = next(model.parameters())
            model.eval()(torch.zeros(1, *input_shape, device=parameter.device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return 2 * sum(x.macs_effective for x in layers) + extra
