"""Draws of initial weights that published programs use and torch does not name."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Standard deviation of a unit normal cut off at two sigma: dividing by it restores the variance.
TRUNCATED_STD = 0.87962566103423978


def fan_in(weight: Tensor) -> int:
    """Inputs of one output of a linear (O,I) or convolution (O,I,kh,kw) weight."""
    return weight[0].numel()


def variance_scaling_(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """`weight`, redrawn in place: truncated normal of variance 1 / fan_in.

    TensorFlow's `variance_scaling_initializer()` with its defaults: cut off at two sigma, and the
    variance is that after the cut.
    """
    sigma = math.sqrt(1.0 / fan_in(weight)) / TRUNCATED_STD
    return nn.init.trunc_normal_(weight, std=sigma, a=-2 * sigma, b=2 * sigma, generator=generator)


def caffe_xavier_(weight: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """`weight`, redrawn in place: uniform in +-sqrt(3 / fan_in), Caffe's filler "xavier"."""
    bound = math.sqrt(3.0 / fan_in(weight))
    return nn.init.uniform_(weight, -bound, bound, generator=generator)
