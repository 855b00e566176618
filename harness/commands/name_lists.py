"""What `bench list --models` and its siblings print: every name that an option takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from harness.errors import RegistryError

if TYPE_CHECKING:
    from harness.registry import Registry

Named = Iterator[tuple[str, str]]  # a name, and what it stands for


def _models(registry: Registry) -> Named:
    """Only here are torchvision and timm asked; their names are many."""
    import timm
    import torchvision

    from harness.models import TIMM_PREFIX, own_names

    theirs = torchvision.models.list_models(module=torchvision.models)
    yield from ((name, "of this project, or an installed package") for name in own_names())
    yield from ((name, "torchvision") for name in theirs)
    for name in timm.list_models():
        yield (f"{TIMM_PREFIX}{name}" if name in theirs else name), "timm"


def _recipes(registry: Registry) -> Named:
    for recipe in registry.recipes.values():
        optimizer = f"{recipe.optimizer.name} at {recipe.optimizer.lr:g}"
        said = f"{recipe.length}, batch {recipe.batch}, {optimizer}, from the {recipe.specified_by}"
        yield recipe.name, said.replace("the assumed", "us (assumed)")


def _evaluations(registry: Registry) -> Named:
    for evaluation in registry.evaluations.values():
        size = ""
        if evaluation.resize is not None:
            size += f", resize {evaluation.resize} ({evaluation.interpolation})"
        if evaluation.crop is not None:
            size += f", crop {evaluation.crop}"
        yield evaluation.name, f"{evaluation.dataset} {evaluation.split}{size}"


def _datasets(registry: Registry) -> Named:
    from harness.registry import data_set, data_set_names

    for name in data_set_names():
        try:
            about = data_set(name)
        except RegistryError as error:  # of a package that is broken
            yield name, str(error)
            continue
        shape = f"{about.classes} classes, {about.channels}x{about.side}x{about.side}"
        yield name, f"{about.title}: {shape}"


def _methods(registry: Registry) -> Named:
    import methods

    for name in methods.names():
        try:
            yield name, (methods.get(name).__doc__ or "").partition("\n")[0]
        except KeyError as error:  # of a package that is broken
            yield name, str(error.args[0])


KINDS: dict[str, Callable[[Registry], Named]] = {
    "models": _models,
    "recipes": _recipes,
    "evaluations": _evaluations,
    "datasets": _datasets,
    "methods": _methods,
}
