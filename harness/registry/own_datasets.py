"""Data sets of one's own: what was measured about each once, kept in the home folder.

<home>/datasets/<name>.json holds the facts and the evaluation protocol that was generated for a
folder of pictures, for a data set of another package, or for images given from Python.
harness.data writes it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness import paths
from harness.errors import DamagedFile, StateWarning
from harness.registry.data_set_facts import DataSet, KnownCopy
from harness.registry.entries import Evaluation
from harness.registry.fields import from_mapping
from harness.system import read_json

if TYPE_CHECKING:
    from harness.registry.reading import Registry

_LAYOUT = "harness.data.layouts.class_folders"
_ABSENT = "harness.data.layouts.in_memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDataSet:
    """One file of the folder. The name of the evaluation is that of the data set."""

    evaluation: Evaluation
    recipe: str  # of the registry, for training
    finetune: str
    title: str
    images: Mapping[str, int]  # split -> number of images
    fingerprints: Mapping[str, str]  # split -> of its images
    classes: tuple[str, ...] = ()
    folder: str | None = None  # of the pictures; None = a package or a script has the images
    train_frac: float | None = None  # share of each class to train on, if the folder has no splits
    side: int = field(default=0)  # pixels of a prepared picture
    stated: tuple[str, ...] = ()  # of size, mean and std: what the user said; the rest was measured


def own_data_set_names() -> tuple[str, ...]:
    """Names of the data sets that a protocol was generated for, sorted."""
    return tuple(sorted(file.stem for file in paths.own_datasets_folder().glob("*.json")))


def read_own(name: str) -> OwnDataSet:
    """What is kept about the data set `name`. Raises DamagedFile if its file is damaged."""
    file = paths.own_datasets_folder() / f"{name}.json"
    try:
        found = from_mapping(OwnDataSet, read_json(file.read_bytes()))
        if found.evaluation.name != name:
            raise ValueError(f"it is about {found.evaluation.name!r}")
    except (OSError, ValueError) as error:  # a Fault is a ValueError
        msg = f"{file.name}: what is kept about data set {name!r} cannot be read: {error}"
        raise DamagedFile(f"{msg}. Name its pictures again; it is made anew from them") from error
    return found


def every_own() -> dict[str, OwnDataSet]:
    """What is kept about each; a damaged file is named in a StateWarning and left out."""
    kept = {}
    for name in own_data_set_names():
        try:
            kept[name] = read_own(name)
        except DamagedFile as error:
            warnings.warn(f"left out: {error}", StateWarning, stacklevel=2)
    return kept


def own_data_set(name: str) -> DataSet | None:
    """What is kept under that name: a folder of pictures, or images that are not at hand now."""
    if name not in own_data_set_names():
        return None
    about = read_own(name)
    if about.folder is None:
        return _without_images(name, about)
    copies = {digest: KnownCopy("own pictures", 0) for digest in about.fingerprints.values()}
    return DataSet(
        name=name,
        title=about.title,
        classes=len(about.classes),
        channels=1 if about.evaluation.channels == "gray" else 3,
        side=about.side,
        images=about.images,
        layout=partial(_layout, about.folder, about.train_frac),
        class_names=lambda: about.classes,
        streamed=True,
        own=True,
        folder=about.folder,
        copies=copies,
    )


def _without_images(name: str, about: OwnDataSet) -> DataSet:
    return DataSet(
        name=name,
        title=about.title,
        classes=len(about.classes),
        channels=len(about.evaluation.mean),
        side=about.side,
        images=about.images,
        layout=lambda: import_module(_ABSENT).InMemory(None),
        class_names=lambda: about.classes,
        own=True,
    )


def _layout(folder: str, train_frac: float | None) -> Any:
    return import_module(_LAYOUT).ClassFolders(folder, train_frac)


def with_own_datasets(registry: Registry) -> Registry:
    """`registry` with the protocols that were generated; its own ones win."""
    kept = every_own()
    if not kept:
        return registry
    from harness.registry.reading import Standard

    evaluations = {name: about.evaluation for name, about in kept.items()}
    standards = {name: Standard(name, about.recipe, about.finetune) for name, about in kept.items()}
    return replace(
        registry,
        evaluations={**evaluations, **registry.evaluations},
        defaults={**standards, **registry.defaults},
    )
