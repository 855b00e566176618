"""Data sets of other packages: what InMemory takes, and what it refuses with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import InMemory
from harness.errors import DataError
from harness.registry import DataSet

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (4, 3, 6, 6), np.uint8)
GRAY = COLOUR[:, 0]
LABELS = np.array([0, 1, 1, 0])


def about(channels: int) -> DataSet:
    return DataSet(
        name="toy",
        title="Toy",
        classes=2,
        channels=channels,
        side=6,
        images={"train": 4},
        layout=lambda: None,
    )


def read(given: Any, channels: int) -> Any:
    return InMemory(lambda split: given).read(about(channels), Path(), "train")


def pairs(pictures: list[Any]) -> list[tuple[Any, int]]:
    return list(zip(pictures, LABELS.tolist(), strict=True))


PAIRS = {
    "arrays": ((COLOUR, LABELS), 3),
    "tensors": ((torch.from_numpy(COLOUR), torch.from_numpy(LABELS)), 3),
    "gray planes": ((GRAY, LABELS.tolist()), 1),
    "torch data set": (pairs([torch.from_numpy(c) for c in COLOUR]), 3),
    "Pillow colour": (pairs([Image.fromarray(c.transpose(1, 2, 0)) for c in COLOUR]), 3),
    "Pillow gray": (pairs([Image.fromarray(g) for g in GRAY]), 1),
}


@pytest.mark.parametrize("case", PAIRS)
def test_every_form_gives_the_same_arrays(case: str) -> None:
    given, channels = PAIRS[case]
    got = read(given, channels)
    assert (got.images == (COLOUR if channels == 3 else GRAY[:, None])).all()
    assert got.images.dtype == np.uint8 and got.labels.tolist() == LABELS.tolist()


BAD = {
    "float": ((COLOUR / 255.0, LABELS), "float64, expected uint8"),
    "channels": ((GRAY, LABELS), r"\(4, 1, 6, 6\), expected \(N, 3, H, W\)"),
    "labels": ((COLOUR, LABELS[:3]), r"expected integers \(4,\)"),
    "classes": ((COLOUR, LABELS + 1), "labels reach from 1 to 2"),
    "count": ((COLOUR[:2], LABELS[:2]), "2 images, its facts say 4"),
    "size": ((COLOUR[..., :5], LABELS), "6 x 5 pixels, its facts say 6 x 6"),
    "shapes": (pairs([c[:, : 6 - i % 2] for i, c in enumerate(COLOUR)]), "pictures of 2 shapes"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_the_facts_is_refused(case: str) -> None:
    given, reason = BAD[case]
    with pytest.raises(DataError, match=reason):
        read(given, 3)
