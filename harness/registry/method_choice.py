"""The method of an entry, made from its name and checked settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from pydantic import ValidationError

import methods
from harness.errors import ProtocolError, SettingsError
from harness.registry import Entry
from harness.registry.overrides import Overrides, settings_among
from harness.registry.recipes import Recipe
from methods.base import Method
from methods.base import Settings as MethodSettings

# ValueError: this value; TypeError: not offered by this method; IndexError: the published solver.
_REFUSALS = (ValueError, TypeError, IndexError)


def merged_settings(entry: Entry, recipe: Recipe, overrides: Overrides) -> dict[str, object]:
    """The method's settings: of the recipe, changed by the entry, changed by the user."""
    return {**recipe.settings, **entry.settings, **settings_among(overrides)}


def make_method(name: str, settings: Mapping[str, object]) -> Method:
    """The method called `name` with checked settings. Raises SettingsError naming the bad value."""
    try:
        kind = methods.get(name)
    except KeyError as error:
        raise ProtocolError(str(error.args[0])) from error
    try:
        return kind(kind.Settings(**dict(settings)))
    except ValidationError as error:
        raise SettingsError(f"{name}: {_first_problem(error, kind.Settings)}") from error


@contextmanager
def method_refusals(what: str) -> Iterator[None]:
    """A method's refusal of what it is given, as a SettingsError that names `what`.

    Only for the calls in which a method meets a network or a target: a ValueError from the middle
    of a training is a fault of the program and stays one.
    """
    try:
        yield
    except _REFUSALS as error:
        raise SettingsError(f"{what}: {error}") from error


def final_choices(method: Method) -> dict[str, object]:
    """The settings of `method` that only choose which network a finished run hands over."""
    return {name: getattr(method.settings, name) for name in method.final_choices}


def without_choices(
    name: str, recipe: Recipe, settings: Mapping[str, object]
) -> tuple[Recipe, dict[str, object]]:
    """Recipe and settings of method `name` without what moves no step of the training."""
    choices = methods.get(name).final_choices
    kept = {key: value for key, value in recipe.settings.items() if key not in choices}
    own = {key: value for key, value in settings.items() if key not in choices}
    return replace(recipe, settings=kept), own


def _first_problem(error: ValidationError, settings: type[MethodSettings]) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(settings.model_fields) or "none"
        return f"no setting is called {where!r}; settings: {known}"
    text = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {text} (got {problem['input']!r})" if where else text
