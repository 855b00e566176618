"""Batch norms of a pruned network get the statistics of training images before it is judged.

A one-shot network normalises by means and variances of the dense one, which costs it most of its
accuracy. The option is never silent: the number of images is recorded, and a note says it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.data import evaluation_batches
from harness.errors import ProtocolError
from harness.registry import Evaluation
from harness.system import verdict_precision
from methods.batch_norm import recalibrate_batch_norm_

if TYPE_CHECKING:
    import torch
    from torch import nn

MOST_PER_BATCH = 128  # the statistics are the plain average over batches


def recalibrate_(
    model: nn.Module,
    count: int,
    evaluation: Evaluation,
    data_root: Path | None,
    device: torch.device | str,
) -> None:
    """Give the batch norms of `model` the statistics of `count` training images, in place.

    The images are spread evenly over the training split and prepared as for evaluation, without
    augmentation, in batches of equal size up to one. Raises ProtocolError if the network keeps no
    such statistics or the split has fewer images, DataError if it is missing.
    """
    batches = evaluation_batches(
        replace(evaluation, split="train"), data_root, device, batch_size(count), limit=count
    )
    if batches.n < count:
        msg = f"--recalibrate {count}: the training split of {evaluation.dataset} has {batches.n}"
        raise ProtocolError(f"{msg} images. Give at most that many")
    try:
        with verdict_precision():
            recalibrate_batch_norm_(model, (images for images, _ in batches))
    except ValueError as error:
        raise ProtocolError(f"--recalibrate: {error}") from error


def recalibration_note(count: int) -> str:
    """The sentence about it in a result."""
    return f"batch norms recalibrated on {count:,} training images"


def batch_size(count: int) -> int:
    """So that no small last batch weighs as much as the others."""
    return math.ceil(count / math.ceil(count / MOST_PER_BATCH))
