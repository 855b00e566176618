"""Values of a recipe that a user changes: typed from the command line to the stored result."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.errors import RegistryError, SettingsError
from harness.registry import plain_yaml
from harness.registry.fields import Fault, from_mapping, nearest, plain, shortened
from harness.registry.recipes import Augmentation, LrSchedule, Optimizer, PruneRounds, Recipe

SETTING = "settings."  # in front of a method's own values


@dataclass(frozen=True, slots=True)
class Override:
    """One changed value of a recipe, as it is recorded with the result under its dotted key.

    Values as in JSON; a length is the text of a Duration.
    """

    value: object
    was: object  # in the recipe; None = not set there
    source: str  # "command line"


Overrides = Mapping[str, Override]  # dotted key -> what changed, in the order given


def assigned(assignments: Iterable[str]) -> dict[str, object]:
    """Typed values of "KEY=VALUE" texts; a value is YAML: 0.05, true, null, [30, 60], words.

    Raises SettingsError for anything else.
    """
    values: dict[str, object] = {}
    for text in assignments:
        key, found, value = text.partition("=")
        if not found or not key:
            raise SettingsError(f"--set {shortened(text)}: expected KEY=VALUE, such as epochs=3")
        try:
            values[key] = plain(plain_yaml.parse(value, key))
        except RegistryError as error:
            raise SettingsError(f"--set {error}") from error
    return values


def assignment(key: str, value: object) -> str:
    """The "KEY=VALUE" text that `assigned` reads as exactly this value."""
    bare = isinstance(value, str) and value and _is_word(value)
    return f"{key}={value if bare else json.dumps(value, ensure_ascii=False)}"


def with_overrides(
    recipe: Recipe, changes: Mapping[str, object], source: str = "command line"
) -> tuple[Recipe, dict[str, Override]]:
    """The recipe with typed values under dotted keys replaced, and what was replaced.

    "epochs" and "steps" set the length. Raises SettingsError naming the closest known key or the
    value that is wrong.
    """
    mapping = _mutable(plain(recipe))
    recorded = {}
    for key, value in changes.items():
        path = key.split(".")
        if key in ("epochs", "steps"):
            path, value = ["length"], f"{value}{'ep' if key == 'epochs' else 'it'}"
        _check_key(key, path)
        recorded[".".join(path)] = Override(plain(value), _put(mapping, path, value), source)
    try:
        return from_mapping(Recipe, mapping), recorded
    except Fault as fault:
        msg = f"recipe {recipe.name}: cannot set {fault}"
        raise SettingsError(msg) from None


def settings_among(overrides: Overrides) -> dict[str, object]:
    """The method's own values among the overrides, under their bare names."""
    return {
        key.removeprefix(SETTING): change.value
        for key, change in overrides.items()
        if key.startswith(SETTING)
    }


def _is_word(text: str) -> bool:
    try:
        return plain_yaml.parse(text) == text
    except RegistryError:
        return False


def _known_keys() -> tuple[str, ...]:
    """Every key that can be overridden, parts of a recipe as "part.key"."""
    parts = {
        "optimizer": Optimizer,
        "schedule": LrSchedule,
        "augmentation": Augmentation,
        "prune": PruneRounds,
    }
    fixed = ("name", "version", "specified_by", "parts", "note", "settings", *parts)
    keys = ["epochs", "steps"]
    keys += [item.name for item in dataclasses.fields(Recipe) if item.name not in fixed]
    for part, kind in parts.items():
        keys += [f"{part}.{item.name}" for item in dataclasses.fields(kind)]
    return tuple(keys)


def _check_key(key: str, path: list[str]) -> None:
    known = _known_keys()
    if ".".join(path) in known or (path[0] == "settings" and len(path) == 2):
        return
    msg = f"unknown recipe key {key!r}{nearest(key, [*known, 'settings.NAME'])}"
    raise SettingsError(msg)


def _mutable(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value


def _put(mapping: dict[str, object], path: list[str], value: object) -> object:
    """Replace the value at `path` and return the one that was there."""
    for step in path[:-1]:
        if mapping.get(step) is None:
            mapping[step] = {}
        mapping = _mutable(mapping[step])
    was = mapping.get(path[-1])
    mapping[path[-1]] = value
    return was
