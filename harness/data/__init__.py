"""Data sets: found, verified by content, named for what they are, and served in batches.

facts.py      shapes, to build a model by
known.py      what is published about each set: pages, md5 sums, fingerprints of copies
fetch.py      official downloads
cifar.py idx.py digits.py flowers.py folder.py    one file layout each
datasets.py   load(name, split) -> ImageSet; describe(name) for a look without loading
pixels.py     resize, channel order, normalisation of uint8 batches
imagenet.py   reference decoding of pictures; decoders.py: by worker processes, in order
decode_cache.py    pictures decoded once, memory-mapped below the home folder
evaluation.py evaluation_batches(evaluation) -> EvaluationBatches
augment.py    batched augmentation; training.py: epochs in a reproducible order
Importing this package imports nothing heavy; the names below load their module when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.data.augment import Augment
    from harness.data.datasets import ImageSet, PictureSet, describe, find_pictures, load, names
    from harness.data.evaluation import EvaluationBatches, evaluation_batches, resident_batches
    from harness.data.training import FolderTrainBatches, TrainBatches

_HOME = {
    "Augment": "augment",
    "EvaluationBatches": "evaluation",
    "FolderTrainBatches": "training",
    "ImageSet": "datasets",
    "PictureSet": "datasets",
    "TrainBatches": "training",
    "describe": "datasets",
    "evaluation_batches": "evaluation",
    "find_pictures": "datasets",
    "load": "datasets",
    "names": "datasets",
    "resident_batches": "evaluation",
}
__all__ = [
    "Augment",
    "EvaluationBatches",
    "FolderTrainBatches",
    "ImageSet",
    "PictureSet",
    "TrainBatches",
    "describe",
    "evaluation_batches",
    "find_pictures",
    "load",
    "names",
    "resident_batches",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
