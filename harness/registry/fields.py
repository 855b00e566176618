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
from collections.abc import Callable, Hashable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from harness.system import finite

Path = tuple[Hashable, ...]
T = typing.TypeVar("T")
Reader = Callable[[Any], Any]
_SHOWN = 100  # letters of a value in a message
_SCALARS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


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


def from_mapping(cls: type[T], mapping: object) -> T:
    """An instance of the dataclass `cls`. Raises Fault with the path to what does not fit."""
    made: T = _reader(typing.cast(Hashable, cls))(mapping)
    return made


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
def _reader(hint: Any) -> Reader:
    """What reads a value of the declared type `hint`, and raises Fault where it does not fit."""
    origin, arms = typing.get_origin(hint), typing.get_args(hint)
    if hint is object or hint is Any:
        return lambda value: _calculable(plain(value))
    if hint in _SCALARS:
        return _scalar_reader(hint)
    if origin is typing.Literal:
        return _literal_reader(arms)
    if origin is tuple:
        return _tuple_reader(arms)
    if origin is not None:  # Mapping[str, T]
        return _mapping_reader(arms[1])
    return _record_reader(hint)


def _record_reader(cls: type) -> Reader:
    parse: Reader | None = getattr(cls, "parse", None)
    if parse is not None:
        return lambda value: value if type(value) is cls else parse(value)
    schema = _schema(cls)
    readers = [(name, _reader(hint), optional) for name, (hint, optional, _) in schema.items()]
    required = [name for name, (_, _, required) in schema.items() if required]

    def read(mapping: object) -> object:
        if type(mapping) is cls:
            return mapping
        if not isinstance(mapping, Mapping):
            raise Fault((), f"expected a mapping, found {_show(mapping)}")
        if not mapping.keys() <= schema.keys():
            key = next(key for key in mapping if key not in schema)
            raise Fault((key,), f"unknown key {key!r}{nearest(str(key), schema)}", on_key=True)
        values: dict[str, object] = {}
        name = ""
        try:
            for name, reader, optional in readers:
                if name in mapping:
                    value = mapping[name]
                    values[name] = None if value is None and optional else reader(value)
        except Fault as fault:
            raise fault.below(name) from None
        for name in required:
            if name not in values:
                raise Fault((), f"key {name!r} is missing")
        return cls(**values)

    return read


def _mapping_reader(arm: Any) -> Reader:
    reader = _reader(arm)

    def read(value: object) -> object:
        if not isinstance(value, Mapping):
            raise Fault((), f"expected a mapping, found {_show(value)}")
        return {str(key): _below(key, reader, item) for key, item in value.items()}

    return read


def _tuple_reader(arms: tuple[Any, ...]) -> Reader:
    readers = [_reader(arm) for arm in arms if arm is not Ellipsis]

    def read(value: object) -> object:
        if not isinstance(value, list | tuple):
            raise Fault((), f"expected a list, found {_show(value)}")
        chosen = readers * len(value) if arms[-1] is Ellipsis else readers
        if len(chosen) != len(value):
            raise Fault((), f"expected {len(chosen)} values, found {len(value)}")
        pairs = enumerate(zip(value, chosen, strict=True))
        return tuple(_below(i, reader, item) for i, (item, reader) in pairs)

    return read


def _literal_reader(arms: tuple[Any, ...]) -> Reader:
    def read(value: object) -> object:
        if not any(type(value) is type(arm) and value == arm for arm in arms):
            raise Fault((), f"unknown value {value!r}{nearest(str(value), map(str, arms))}")
        return value

    return read


def _scalar_reader(hint: type) -> Reader:
    as_it_is = hint in (str, bool)

    def read(value: object) -> object:
        if as_it_is and type(value) is hint:
            return value
        if type(value) is int and hint in (int, float):
            value = hint(_calculable(value))
        if type(value) is not hint or (hint is float and not math.isfinite(value)):  # type: ignore[arg-type]
            hinted = " (put it in quotes)" if hint is str and isinstance(value, int | float) else ""
            raise Fault((), f"expected {_SCALARS[hint]}, found {_show(value)}{hinted}")
        return value

    return read


def _calculable(value: T) -> T:
    """`value` if every number in it is finite and fits into 64 bits; else raises Fault."""
    if isinstance(value, dict):
        return {key: _below(key, _calculable, item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list):
        return [_below(i, _calculable, item) for i, item in enumerate(value)]  # type: ignore[return-value]
    try:
        return finite(value) if isinstance(value, int | float) else value  # type: ignore[return-value]
    except ValueError as error:
        raise Fault((), str(error)) from error


def _below(step: Hashable, reader: Reader, value: object) -> object:
    try:
        return reader(value)
    except Fault as fault:
        raise fault.below(step) from None


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


def _show(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else shortened(value)


def shortened(value: object) -> str:
    """How a value is shown in a message: as Python writes it, not more than a line of it."""
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}... ({len(shown)} letters)"
