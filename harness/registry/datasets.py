"""Shapes of the data sets: enough to build a model before any image is read."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import DataError
from harness.registry import Evaluation


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Number of classes, image channels and side length (pixels) as stored."""

    classes: int
    channels: int
    side: int
    title: str
    stand_in: str = ""  # why a number on it is never a reproduction


FACTS = {
    "cifar10": DatasetFacts(10, 3, 32, "CIFAR-10"),
    "cifar100": DatasetFacts(100, 3, 32, "CIFAR-100"),
    "mnist": DatasetFacts(10, 1, 28, "MNIST"),
    "fashion-mnist": DatasetFacts(10, 1, 28, "Fashion-MNIST"),
    "kmnist": DatasetFacts(10, 1, 28, "Kuzushiji-MNIST"),
    "flowers102": DatasetFacts(102, 3, 224, "Flowers-102"),
    "imagenet": DatasetFacts(1000, 3, 224, "ImageNet (ILSVRC 2012)"),
    "imagenet-sample": DatasetFacts(
        1000,
        3,
        224,
        "ImageNet sample, 1,000 pictures",
        stand_in="1,000 sample pictures, not the validation set",
    ),
    "digits": DatasetFacts(10, 1, 8, "Digits 8x8 (ships with scikit-learn)"),
}


def facts(dataset: str) -> DatasetFacts:
    """Facts of a data set. Raises DataError with the known names."""
    if dataset not in FACTS:
        msg = f"unknown data set {dataset!r}; known: {', '.join(FACTS)}"
        raise DataError(msg)
    return FACTS[dataset]


# Fixed, because the order of float sums depends on it; part of the evaluation protocol.
EVALUATION_BATCH = 250


def input_shape(evaluation: Evaluation) -> tuple[int, int, int]:
    """(C,H,W) of one preprocessed image."""
    shape = facts(evaluation.dataset)
    side = evaluation.crop or evaluation.resize or shape.side
    channels = 1 if evaluation.channels == "gray" else shape.channels
    return channels, side, side
