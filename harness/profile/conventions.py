"""The same network in the units each paper printed. Published figures are converted to ours never;
ours are converted to theirs, and compared there.

`FIGURES` is the table: convention id (`flops_convention` of a paper, one of the registry's
FLOPS_CONVENTIONS) -> the figures that a paper of that convention prints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.results import LayerCost

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class CountedNetwork:
    """A network whose weights and multiply-accumulates are counted, for one (C,H,W) input."""

    model: nn.Module
    layers: tuple[LayerCost, ...]
    input_shape: tuple[int, int, int]
    macs_left: float  # of one image: by the method's own count where it has one, else from zeros


def figures_by(convention: str, counted: CountedNetwork) -> dict[str, float]:
    """Name of a published metric -> value; {} where the method has to measure it.

    Raises KeyError for an id that is none of the registry's FLOPS_CONVENTIONS.
    """
    return FIGURES[convention](counted)


def acdc_flops(
    model: nn.Module, layers: Sequence[LayerCost], input_shape: tuple[int, int, int]
) -> int:
    """AC/DC's FLOPs of one image (spec section 2.3): 2 per non-zero multiply-accumulate.

    Conv (2*nnz + bias*out)*positions; linear 2*nnz + bias; batch norm 2 per input element; ReLU
    modules 1; max and average pooling k*k per output. Adaptive average pooling counts as the fixed
    pooling it stands for (the papers' networks use AvgPool2d there).
    """
    import torch

    extra = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal extra
        extra += _beside_weights(module, inputs[0].numel(), output.numel())

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


def _beside_weights(module: nn.Module, read: int, written: int) -> int:
    """AC/DC's FLOPs of a module but for its weights. read, written: elements of one image."""
    from torch import nn

    match module:
        case nn.Conv2d():
            return written if module.bias is not None else 0
        case nn.Linear():
            return module.out_features if module.bias is not None else 0
        case nn.BatchNorm2d():
            return 2 * read
        case nn.ReLU() | nn.AdaptiveAvgPool2d():
            return read
        case nn.MaxPool2d() | nn.AvgPool2d():
            kernel = module.kernel_size
            area = kernel * kernel if isinstance(kernel, int) else kernel[0] * kernel[1]
            return area * written
    return 0


def _macs(counted: CountedNetwork) -> dict[str, float]:
    """Multiply-accumulates of conv and linear weights x density (STR, DNW, GMP, dense)."""
    return {"flops_millions": counted.macs_left / 1e6}


def _acdc(counted: CountedNetwork) -> dict[str, float]:
    """2 per multiply-accumulate, plus biases, batch norm, ReLU and pooling (AC/DC)."""
    return {"flops_millions": acdc_flops(counted.model, counted.layers, counted.input_shape) / 1e6}


def _rd_prune(counted: CountedNetwork) -> dict[str, float]:
    """Percent of dense multiply-accumulates, one bias term per position (RD_PRUNE)."""
    from methods.rate_distortion import LayerFlops, flops_remaining

    modules = dict(counted.model.named_modules())
    rows = [
        LayerFlops(x.positions, x.nnz, x.total, _has_bias(modules.get(x.name)))
        for x in counted.layers
    ]
    return {"flops_remaining_pct": 100.0 * flops_remaining(rows)}


def _has_bias(module: nn.Module | None) -> bool:
    return getattr(module, "bias", None) is not None


def _measured_by_the_method(counted: CountedNetwork) -> dict[str, float]:
    return {}


FIGURES: dict[str, Callable[[CountedNetwork], dict[str, float]]] = {
    "macs": _macs,
    "2x-macs-bn-relu-pool": _acdc,
    "rd-macs-ratio": _rd_prune,
    "ftwt-reported": _measured_by_the_method,  # percent of dense, per-sample active filters
    "ip-kept-ratio": _measured_by_the_method,  # share of parameters in kept rows (IPruning)
    # Percent of dense, zero weights and zero inputs both skipped (Han et al. 2015).
    "macs-times-activations": _measured_by_the_method,
}
