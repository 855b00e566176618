"""Pruned networks with random weights, and how close the sparse runtime must come to them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Both sides sum the same float32 products in different orders and fold the batch norm at
# different places; a few hundred terms per sum and up to a hundred layers stay far below this.
# Relative to the largest output. A wrong weight, border or bias is off by 1e-2 and more.
ORDER_OF_SUMS = 2e-5


def pruned(
    model: nn.Module, density: float, seed: int = 0, empty_filters: float = 0.2
) -> nn.Module:
    """The model in eval mode with random zeros, empty filters and lively norm statistics."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.1, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.data
            weight *= torch.rand(weight.shape, generator=generator) < density
            if isinstance(module, nn.Conv2d):
                weight[torch.rand(len(weight), generator=generator) < empty_filters] = 0
    return model.eval()


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest magnitude expected; shapes must agree."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6))


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
