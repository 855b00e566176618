"""Oxford Flowers-102: the official files, or the class folders of the pruning papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.data.decoding import squash
from harness.data.layouts.class_folders import list_hash, scan
from harness.data.layouts.layout import Arrays
from harness.errors import DataError
from harness.registry import DataSet

SIDE = 32  # pixels, when no size is asked for
OFFICIAL = "flowers-102"  # jpg/image_00001.jpg ..., imagelabels.mat, setid.mat
CLASS_FOLDERS = "flowers/images"  # {train,test}/<class>/<picture>
SPLIT_KEYS = {"train": "trnid", "val": "valid", "test": "tstid"}


class FlowersFiles:
    """The official files, or class folders with a split of their own."""

    def find(self, root: Path) -> Path | None:
        """The folder to read from, or None. The official files win over class folders."""
        for place, sign in ((root / OFFICIAL, "setid.mat"), (root / CLASS_FOLDERS, "test")):
            if (place / sign).exists():
                return place
        return None

    def read(self, about: DataSet, folder: Path, split: str, side: int | None) -> Arrays:
        """A split with every picture squashed to side x side (None: 32) by Pillow's bilinear
        filter.

        Squashed, not cropped: IPruning section 3 resizes to (32, 32) whatever the aspect ratio.
        Raises DataError when a file is missing or the split does not exist in this layout.
        """
        if (folder / "setid.mat").exists():
            files, labels = _official(folder, split)
            copy = "official split files; picture bytes unchecked"
        else:
            if not (folder / split).is_dir():
                msg = f"{folder}: no split {split!r}; class folders have train and test"
                raise DataError(f"{msg}, only the official files have val")
            listed = scan(folder / split, about.classes)
            files, labels = listed.files, listed.labels
            copy = "class folders with a split of their own"
        images = np.stack([squash(path, side or SIDE) for path in files])
        digest = list_hash(files, labels)
        return Arrays(images, np.asarray(labels, np.int64), (), copy, digest)


def _official(place: Path, split: str) -> tuple[Sequence[Path], Sequence[int]]:
    from scipy.io import loadmat  # type: ignore[import-untyped]

    numbers = loadmat(place / "setid.mat", squeeze_me=True)[SPLIT_KEYS[split]]
    all_labels = loadmat(place / "imagelabels.mat", squeeze_me=True)["labels"]
    files = [place / "jpg" / f"image_{number:05d}.jpg" for number in numbers]
    absent = [path.name for path in files if not path.is_file()]
    if absent:
        msg = f"{place / 'jpg'}: {len(absent)} of {len(files)} pictures missing, first {absent[0]}"
        raise DataError(f"{msg}; unpack 102flowers.tgz again")
    return files, [int(all_labels[number - 1]) - 1 for number in numbers]
