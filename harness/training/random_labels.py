"""Training images under labels drawn anew: what a network memorises and what it learns.

As AC/DC's memorisation runs draw them (section 3.3 of its protocol): the generator of numpy's
RandomState(seed) gives a permutation of all rows, whose first `count` are taken, then one label
each. About one label in ten stays right by chance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from harness.data import ImageSet


def random_labels(total: int, count: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """(rows, labels), int64 (count,), in the order drawn. count <= total."""
    generator = np.random.RandomState(seed)
    rows = generator.permutation(total)[:count]
    labels = generator.choice(classes, count)
    return torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(labels.astype(np.int64))


def relabelled(images: ImageSet, rows: Tensor, labels: Tensor) -> ImageSet:
    """`images` with `labels` at `rows`; the set that was given stays as it is."""
    changed = images.labels.clone()
    changed[rows] = labels
    return replace(images, labels=changed)
