"""New statistics for batch norms whose inputs pruning has changed.

A pruned network normalises by means and variances of the dense one, which costs a one-shot network
most of its accuracy. Source: EagleEye (ECCV 2020, arXiv 2007.02491), adaptive batch normalization.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recalibrate_batch_norm_(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace the running statistics of every batch norm by those of `batches`; images used.

    batches: training images (N,C,H,W), normalised, on the model's device; at least one, and more
    than one value per channel in each. Statistics are the plain average over batches, in place;
    weights, modes and momenta stay as they were. Everything else runs in eval mode, so dropout
    does nothing. Deviation: EagleEye keeps the layers' momentum, which forgets early batches.
    Raises ValueError without a batch norm that keeps statistics or without images, and whatever
    the model raises, with the old statistics in place.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not norms:
        raise ValueError(f"{type(model).__name__} has no batch norm that keeps running statistics")
    images = 0
    with _averaging(model, norms):
        for batch in batches:
            model(batch)
            images += len(batch)
        if not images:
            raise ValueError("no images to recalibrate batch norms on; give at least one batch")
    return images


@contextmanager
def _averaging(model: nn.Module, norms: list[_BatchNorm]) -> Iterator[None]:
    """Only `norms` train, from nothing and with equal weights; after an error, as they were."""
    before = [{name: value.clone() for name, value in norm.named_buffers()} for norm in norms]
    momenta = [norm.momentum for norm in norms]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch's spelling of a plain average
            norm.train()
        yield
    except BaseException:
        for norm, buffers in zip(norms, before, strict=True):
            norm.load_state_dict({**norm.state_dict(), **buffers})
        raise
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
