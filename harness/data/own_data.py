"""A data set of one's own, by name: its protocol is measured once and kept.

`folder:PATH` names train/, val/ and test/ (or two of them) with a folder of pictures per class, or
the class folders alone with a share to train on. The channel statistics are those of the prepared
training pictures. A data set of another package, or of loaders, gets a protocol in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

import numpy as np
from PIL import Image

from harness import paths
from harness.data.decoding import decode, ordered_map
from harness.data.find_and_load import load
from harness.data.layouts.class_folders import PictureFolder, part_of, scan, visible_folders
from harness.errors import DataError
from harness.registry import (
    OwnDataSet,
    data_set,
    every_own,
    from_mapping,
    is_installed_data_set,
    read_own,
)
from harness.system import replace_text

PREFIX = "folder:"
SAMPLE = 2_000  # training pictures, spread evenly over the classes, that are measured
LARGE = 224  # pixels: pictures with longer short sides are prepared as ImageNet's are
LARGE_RESIZE = 256
GRAY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "F"))
SIGNIFICANT = 6  # digits of mean and std that are kept

Note = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user says about the preparation; None = measured on the training pictures.

    size: pixels a side. mean, std: of channels in 0..1, one value each for gray pictures.
    """

    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What is said, of "size", "mean" and "std"."""
        return tuple(name for name in ("size", "mean", "std") if getattr(self, name) is not None)

    def fits(self, about: OwnDataSet) -> bool:
        """Whether the protocol that is kept says the same; one that says nothing fits any."""
        kept = {"size": about.side, "mean": about.evaluation.mean, "std": about.evaluation.std}
        return all(kept[name] == getattr(self, name) for name in self.names)


NOTHING_STATED = Stated()


@dataclass(frozen=True, slots=True)
class PicturePreparation:
    """How pictures are prepared, and the statistics of the training ones then, by channel."""

    resize: int | None
    crop: int
    gray: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]


def data_set_name(
    typed: str,
    train_frac: float | None = None,
    note: Note = str,
    stated: Stated = NOTHING_STATED,
) -> str:
    """The name of the data set that a user typed; a folder's, or an installed one's, is measured.

    train_frac: 0..1, for a folder of class folders without a split. note: hears what was measured.
    stated: of the preparation of a folder's pictures. Raises DataError naming what is wrong.
    """
    if typed.startswith(PREFIX):
        return _of_folder(Path(typed.removeprefix(PREFIX)).expanduser(), train_frac, note, stated)
    if train_frac is not None:
        raise DataError(f"--split is for folder:PATH, not for {typed!r}; leave it out")
    if stated.names:
        option = "--image-size" if stated.size else f"--{stated.names[0]}"
        raise DataError(
            f"{option} is for folder:PATH; the protocol of {typed!r} is fixed: --evaluation NAME"
        )
    if is_installed_data_set(typed) and typed not in every_own():
        _keep(typed, _of_arrays(typed, None, 1), note)
    return typed


def keep_given(
    name: str, prepared: tuple[Sequence[float], Sequence[float]] | None, note: Note = str
) -> None:
    """Keep the protocol of the images that `make_known` made known as `name`.

    prepared: mean and std by channel; None = as measured on the training images. What is kept
    already stays, as long as pixels, mean and std are the same; else a next version follows.
    """
    before = every_own().get(name)
    if before is None:
        _keep(name, _of_arrays(name, prepared, 1), note)
        return
    about = _of_arrays(name, prepared, before.evaluation.version)
    now = from_mapping(OwnDataSet, about)
    if (now.fingerprints, now.evaluation) != (before.fingerprints, before.evaluation):
        _keep(name, _of_arrays(name, prepared, before.evaluation.version + 1), note)


def _of_folder(place: Path, train_frac: float | None, note: Note, stated: Stated) -> str:
    place = place.resolve()
    if not place.is_dir():
        what = "is not a folder" if place.exists() else "does not exist"
        msg = f"{PREFIX}{place}: {what}"
        raise DataError(f"{msg}. Name the folder that holds train/ and val/, or the class folders")
    kept = every_own()
    here = {name: about for name, about in kept.items() if about.folder == str(place)}
    for about in here.values():
        train_frac = about.train_frac if train_frac is None else train_frac
    splits = _splits(place, train_frac)
    prints = {split: pictures.fingerprint for split, pictures in splits.items()}
    for name, about in here.items():
        if dict(about.fingerprints) == prints and stated.fits(about):
            return name
    name = next(iter(here), None) or _free_name(place, kept)
    version = 1 + max((about.evaluation.version for about in here.values()), default=0)
    _keep(name, _measured(name, version, place, splits, train_frac, stated), note)
    return name


def _free_name(place: Path, kept: Mapping[str, OwnDataSet]) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", place.name.lower()).strip("-") or "pictures"
    first = f"folder-{slug}"
    names = (first, *(f"{first}-{number}" for number in range(2, len(kept) + 3)))
    return next(name for name in names if name not in kept)


def _splits(place: Path, train_frac: float | None) -> dict[str, PictureFolder]:
    """The pictures of each split; DataError unless all have the same classes, two or more."""
    folders = visible_folders(place)
    if "train" not in folders:
        return _split_here(place, folders, train_frac)
    if train_frac is not None:
        raise DataError(f"{place} has a split of its own (train/); leave --split out")
    evaluated = [split for split in ("val", "test") if split in folders]
    if not evaluated:
        msg = f"{place}: train/ is there, val/ and test/ are not"
        raise DataError(f"{msg}. Add pictures to measure on, or name {place / 'train'} --split 0.9")
    classes = _classes(place / "train")
    for split in evaluated:
        _require_same(place, split, classes, visible_folders(place / split))
    return {split: scan(place / split, len(classes)) for split in ("train", *evaluated)}


def _split_here(
    place: Path, folders: Sequence[str], train_frac: float | None
) -> dict[str, PictureFolder]:
    classes = _classes(place)
    if train_frac is None:
        msg = f"{place}: no train/ below it, but {len(folders)} class folders"
        raise DataError(f"{msg}. Say which share is for training: --split 0.9")
    whole = scan(place, len(classes))
    for label, name in enumerate(classes):
        if whole.labels.count(label) < 2:
            msg = f"{place / name}: one picture cannot be both trained and measured on"
            raise DataError(f"{msg}. Add pictures, or leave the class out")
    return {split: part_of(whole, train_frac, split) for split in ("train", "val")}


def _classes(folder: Path) -> list[str]:
    found = visible_folders(folder)
    if len(found) < 2:
        found_here = f"one class folder, {found[0]}" if found else "no class folders"
        msg = f"{folder}: {found_here}; a classifier needs two classes or more"
        raise DataError(f"{msg}. Put the pictures of each class into a folder of its own")
    return found


def _require_same(place: Path, split: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    missing, more = sorted({*wanted} - {*found}), sorted({*found} - {*wanted})
    if missing or more:
        parts = [f"lacks {', '.join(missing[:3])}"] if missing else []
        parts += [f"has {', '.join(more[:3])}"] if more else []
        msg = f"{place / split} {' and '.join(parts)}, unlike train/"
        raise DataError(f"{msg}. Every split needs the same class folders")


def _measured(
    name: str,
    version: int,
    place: Path,
    splits: Mapping[str, PictureFolder],
    train_frac: float | None,
    stated: Stated,
) -> dict[str, object]:
    prepared = _prepared(splits["train"], stated)
    protocol = {
        **_protocol(name, "test" if "test" in splits else "val", prepared),
        "version": version,
        "resize": prepared.resize,
        "crop": prepared.crop,
        "note": _origin(stated),
    }
    return {
        "evaluation": protocol,
        "recipe": "standard-pictures",
        "finetune": "standard-pictures-finetune",
        "title": place.name,
        "images": {split: len(pictures.files) for split, pictures in splits.items()},
        "fingerprints": {split: pictures.fingerprint for split, pictures in splits.items()},
        "classes": list(splits["train"].classes),
        "folder": str(place),
        "train_frac": train_frac,
        "side": prepared.crop,
        "stated": stated.names,
    }


def _origin(stated: Stated) -> str:
    if not stated.names:
        return "generated from the training pictures"
    return f"{', '.join(stated.names)} stated; the rest generated from the training pictures"


def _protocol(name: str, split: str, prepared: PicturePreparation) -> dict[str, object]:
    return {
        "name": name,
        "version": 1,
        "dataset": name,
        "split": split,
        "mean": prepared.mean,
        "std": prepared.std,
        "channels": "gray" if prepared.gray else "rgb",
    }


def _prepared(pictures: PictureFolder, stated: Stated) -> PicturePreparation:
    count = min(SAMPLE, len(pictures.files))
    files = [pictures.files[i * len(pictures.files) // count] for i in range(count)]
    looked = [_size_and_colour(file) for file in files]
    gray = all(gray for _, gray in looked)
    side = median_low(side for side, _ in looked)
    resize, crop = (LARGE_RESIZE, LARGE) if side >= LARGE else (side, side)
    if stated.size is not None:
        resize = crop = stated.size
    channels = 1 if gray else 3
    for name in ("mean", "std"):
        _require_channels(name, getattr(stated, name), channels)
    mean, std = stated.mean, stated.std
    if mean is None or std is None:
        measured_mean, measured_std = _statistics(*_sums(files, resize, crop))
        mean, std = mean or measured_mean[:channels], std or measured_std[:channels]
    return PicturePreparation(resize, crop, gray, mean, std)


def _require_channels(name: str, values: tuple[float, ...] | None, channels: int) -> None:
    if values is not None and len(values) != channels:
        kind = "gray: one value" if channels == 1 else "coloured: three values"
        raise DataError(f"--{name} has {len(values)} values; the pictures are {kind}")


def _sums(files: Sequence[Path], resize: int, crop: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Sums and sums of squares of the prepared pixels (3,) in 0..1, and how many there are."""
    sums, squares, pixels = np.zeros(3), np.zeros(3), 0
    for picture in ordered_map(lambda file: decode(file, resize, crop), files, ahead=64):
        scaled = picture.reshape(3, -1) / 255
        sums, squares = sums + scaled.sum(1), squares + (scaled**2).sum(1)
        pixels += scaled.shape[1]
    return sums, squares, pixels


def _statistics(
    sums: np.ndarray, squares: np.ndarray, pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean = sums / pixels
    deviation = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    deviation[deviation < 1 / 255] = 1.0  # pictures of one tone: nothing to scale by
    return _rounded(mean), _rounded(deviation)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(f"{value:.{SIGNIFICANT}g}") for value in values)


def _size_and_colour(file: Path) -> tuple[int, bool]:
    try:
        with Image.open(file) as picture:
            return min(picture.size), picture.mode in GRAY_MODES
    except Exception as error:  # a damaged file can fail in any way
        msg = f"{file}: not a readable picture ({error})"
        raise DataError(f"{msg}; replace it, or take it out of the folder") from error


def _of_arrays(
    name: str, prepared: tuple[Sequence[float], Sequence[float]] | None, version: int
) -> dict[str, object]:
    """What is kept about a known data set that is held in memory."""
    about = data_set(name)
    evaluated = next((split for split in ("test", "val") if split in about.images), None)
    if evaluated is None or (prepared is None and "train" not in about.images):
        msg = f"{name}: its facts name {', '.join(about.images) or 'no split'}"
        raise DataError(
            f"{msg}; train is needed to measure its protocol, and test or val to use it"
        )
    splits = {split: load(name, split) for split in ("train", evaluated) if split in about.images}
    gray = about.channels == 1
    side = splits[evaluated].images.shape[-1]
    note = "mean and std as stated"
    if prepared is None:
        note = "generated from the training images"
        scaled = splits["train"].images.double() / 255
        sums, squares = scaled.sum((0, 2, 3)).numpy(), (scaled**2).sum((0, 2, 3)).numpy()
        prepared = _statistics(sums, squares, scaled[:, 0].numel())
    mean, std = map(tuple, prepared)
    base = "standard-mnist" if gray else "standard-cifar"
    return {
        "evaluation": {
            **_protocol(name, evaluated, PicturePreparation(None, side, gray, mean, std)),
            "version": version,
            "note": note,
        },
        "recipe": base,
        "finetune": f"{base}-finetune",
        "title": about.title,
        "images": {split: len(images) for split, images in splits.items()},
        "fingerprints": {split: x.identity.fingerprint for split, x in splits.items()},
        "classes": [str(number) for number in range(about.classes)],
        "side": side,
    }


def _keep(name: str, about: Mapping[str, object], note: Note) -> None:
    file = paths.own_datasets_folder() / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_text(file, json.dumps(about, indent=1) + "\n")
    note(f"{described(name)} Kept in {file}")


def described(name: str) -> str:
    """A data set of one's own and the protocol that was generated for it, in a line."""
    about = read_own(name)
    protocol = about.evaluation
    counts = " and ".join(f"{count:,} {split}" for split, count in about.images.items())
    classes = f"{len(about.classes)} classes, " if about.classes else ""
    sizes = f"resize {protocol.resize}, crop {protocol.crop}, " if protocol.crop else ""
    mean, std = ([f"{value:.3f}" for value in values] for values in (protocol.mean, protocol.std))
    return (
        f"{name} v{protocol.version}: {classes}{counts} images; measured on {protocol.split}, "
        f"{protocol.channels}, {sizes}mean {' '.join(mean)}, std {' '.join(std)}."
    )
