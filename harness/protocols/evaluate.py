"""The standardized evaluation: float32, no TF32, no autotuning, integer counts, one division."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.errors import MetricError
from harness.protocols.distributed import (
    gather_interleaved,
    rank,
    sum_over_processes,
    world_size,
)
from harness.results import Counts

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Counts over the split, and the predicted class of every image in order."""

    counts: Counts
    predictions: np.ndarray  # (N,) uint16


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    progress: Callable[[int], None] | None = None,
) -> Evaluated:
    """Count correct predictions of `model` over `batches` of (images, labels) on its device.

    Under torchrun each process takes every world_size-th batch; all of them return the whole.

    Top-k ties are broken by class index, so constant logits score 1/classes, not 1. The loss is the
    mean cross-entropy, summed in float64. `progress` receives the number of images of each batch;
    nothing synchronises with the device until the end.
    Raises MetricError if there are no images or a logit is not finite.
    """
    model.eval()
    if any(module.training for module in model.modules()):
        msg = "a submodule stays in training mode after model.eval(); evaluation would be noisy"
        raise MetricError(msg)
    sums: Tensor | None = None
    predictions: list[Tensor] = []
    n = 0
    with verdict_precision():
        for images, labels in islice(batches, rank(), None, world_size()):
            logits = model(images).float()
            part = _count(logits, labels)
            sums = part if sums is None else sums + part
            predictions.append(logits.argmax(1).to(torch.int32))
            n += len(labels)
            if progress is not None:
                progress(len(labels))
    if sums is None and world_size() == 1:
        raise MetricError("no images to evaluate: the split is empty or the limit is 0")
    total, top1, top3, top5, loss = _over_processes(n, sums, next(model.parameters()).device)
    if not np.isfinite(loss):
        msg = f"the loss over {total:.0f} images is {loss}: the network produces non-finite logits"
        raise MetricError(msg)
    counts = Counts(n=int(total), top1=int(top1), top3=int(top3), top5=int(top5), loss_sum=loss)
    everything = torch.cat(gather_interleaved(predictions))
    return Evaluated(counts, everything.cpu().numpy().astype(np.uint16))


def _over_processes(n: int, sums: Tensor | None, device: torch.device) -> list[float]:
    """(n, top1, top3, top5, loss) over all processes; the one place that waits for the device."""
    own = torch.zeros(4, dtype=torch.float64, device=device) if sums is None else sums
    total: list[float] = sum_over_processes(torch.cat([own.new_tensor([n]), own])).tolist()
    return total


def _count(logits: Tensor, labels: Tensor) -> Tensor:
    """(top1, top3, top5, loss) sums of one batch as float64 on the device; counts stay exact."""
    target = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    rank = ((logits > target) | ((logits == target) & earlier)).sum(1)
    losses = F.cross_entropy(logits, labels, reduction="none").double()
    hits = torch.stack([(rank < k).sum() for k in (1, 3, 5)]).double()
    return torch.cat([hits, losses.sum()[None]])


@contextmanager
def verdict_precision() -> Iterator[None]:
    """float32 without TF32 or kernel autotuning, deterministic cuDNN; restored afterwards."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic)
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = (
        False,
        False,
        False,
        True,
    )
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before
