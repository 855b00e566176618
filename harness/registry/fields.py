"""Mappings into frozen dataclasses, checked against the declared types, and back.

The type annotations of a dataclass are its schema: unknown keys, missing keys and wrong types are
faults that know the path to the offending value. Value ranges are checked by each dataclass itself
(`__post_init__` raising Fault).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from collections.abc import Hashable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache

Path = tuple[Hashable, ...]
T = typing.TypeVar("T")


class Fault(ValueError):
    """A value that does not fit. `path` leads to it from the mapping that was read."""

    def __init__(self, path: Path, problem: str, on_key: bool = False) -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem
        self.on_key = on_key  # the key itself is at fault, not its value

    def below(self, *prefix: Hashable) -> Fault:
        """The same fault, seen from `prefix` further up."""
        return Fault((*prefix, *self.path), self.problem, self.on_key)

    def __str__(self) -> str:
        place = ".".join(str(step) for step in self.path)
        return f"{place}: {self.problem}" if place else self.problem


def nearest(word: str, known: Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the closest known word, else the known words, else ""."""
    words = sorted(set(known))
    close = get_close_matches(word, words, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    if not words:
        return ""
    return f"; known: {', '.join(words[:12])}{', ...' if len(words) > 12 else ''}"


def build(cls: type[T], mapping: object, path: Path = ()) -> T:
    """An instance of the dataclass `cls`. Raises Fault below `path` for what does not fit."""
    if not isinstance(mapping, Mapping):
        raise Fault(path, f"expected a mapping, found {_show(mapping)}")
    schema = _schema(cls)  # type: ignore[arg-type]
    for key in mapping:
        if key not in schema:
            raise Fault(
                (*path, key), f"unknown key {key!r}{nearest(str(key), schema)}", on_key=True
            )
    values: dict[str, object] = {}
    for name, (hint, optional, required) in schema.items():
        if name in mapping:
            value = mapping[name]
            empty = value is None and optional
            values[name] = None if empty else convert(value, hint, (*path, name))
        elif required:
            raise Fault(path, f"key {name!r} is missing")
    try:
        return cls(**values)
    except Fault as fault:
        raise fault.below(*path) from None


def convert(value: object, hint: object, path: Path) -> object:
    """`value` as the type `hint`: str, int, float, bool, a dataclass, a tuple or a mapping of them.

    Raises Fault at `path`.
    """
    if type(value) is hint and hint is not float:  # the most frequent case by far
        return value
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _convert_tuple(value, typing.get_args(hint), path)
    if origin is not None:  # Mapping[str, object]
        if not isinstance(value, Mapping):
            raise Fault(path, f"expected a mapping, found {_show(value)}")
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        parse = getattr(hint, "parse", None)
        if parse is None:
            return build(hint, value, path)
        try:
            return parse(value)
        except Fault as fault:
            raise fault.below(*path) from None
    return _convert_scalar(value, hint, path)


def plain(value: object, hashed: bool = False) -> object:
    """`value` rebuilt from dict, list and scalars only, dataclasses included. JSON-ready.

    Objects with a `text` form of their own (`as_text`) become that text.
    hashed: without the fields that no hash sees.
    """
    if hasattr(value, "as_text"):
        return value.as_text()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {
            f.name: plain(item, hashed)
            for f, item in items
            if not (hashed and "later" in f.metadata and item == f.default)
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item, hashed) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, hashed) for item in value]
    return value


def later(default: T) -> T:
    """A dataclass field that came after results were stored; at its default no hash sees it."""
    return dataclasses.field(default=default, metadata={"later": True})


def sha256(value: object, without: tuple[str, ...] = ()) -> str:
    """Hex sha256 of the canonical JSON of a dataclass; top-level fields `without` are left out.

    So are fields made by `later` that hold their default.
    """
    mapping = plain(value, hashed=True)
    if isinstance(mapping, dict):
        mapping = {key: item for key, item in mapping.items() if key not in without}
    text = json.dumps(mapping, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _schema(cls: type) -> dict[str, tuple[object, bool, bool]]:
    """Field name -> (type without None, may it be None, is it mandatory)."""
    hints = typing.get_type_hints(cls)
    missing = dataclasses.MISSING
    schema = {}
    for field in dataclasses.fields(cls):
        hint, optional = hints[field.name], False
        if typing.get_origin(hint) is types.UnionType:
            (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
            optional = True
        required = field.default is missing and field.default_factory is missing
        schema[field.name] = (hint, optional, required)
    return schema


def _convert_tuple(value: object, arms: tuple[object, ...], path: Path) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise Fault(path, f"expected a list, found {_show(value)}")
    if arms[-1] is Ellipsis:
        arms = (arms[0],) * len(value)
    if len(arms) != len(value):
        raise Fault(path, f"expected {len(arms)} values, found {len(value)}")
    pairs = zip(value, arms, strict=True)
    return tuple(convert(item, arm, (*path, i)) for i, (item, arm) in enumerate(pairs))


def _convert_scalar(value: object, hint: object, path: Path) -> object:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    fits = type(value) is hint
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        name = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        hinted = " (put it in quotes)" if hint is str and isinstance(value, int | float) else ""
        raise Fault(path, f"expected {name[hint]}, found {_show(value)}{hinted}")  # type: ignore[index]
    return value


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else repr(value)
