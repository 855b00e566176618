"""Plain YAML as dicts, lists and scalars, with the line and column of every one of them.

Only what data needs: mappings, sequences, scalars. Tags, anchors, aliases, several documents,
deep nesting and big files are refused, so that nothing is executed and nothing can explode.

Values are made from the parser's events directly. PyYAML's own way leads through a tree of nodes,
which takes three times as long, and every `bench` command reads the registry.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml import MappingEndEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent

from harness.errors import RegistryError
from harness.system import real_number, whole_number

MAX_BYTES = 4 << 20  # the registry itself is below 100 kB
MAX_DEPTH = 12  # the deepest place of the registry is at 7

_PARSER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml where PyYAML was built with it
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?\Z")
_UNWRITABLE = re.compile("[\x00\ud800-\udfff]")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_STARTS_NUMBER = frozenset("+-.0123456789")

Mark = tuple[int, int]  # line and column, from 1
Place = tuple[Hashable, ...]  # keys and indices from the root to a value


class Parts:
    """Where a mapping or sequence stands, and where each of its values does."""

    __slots__ = ("event", "places")

    def __init__(self, event: yaml.Event, places: dict[Hashable, tuple[yaml.Event, Spot]]) -> None:
        self.event = event
        self.places = places  # key or index -> (event of the key or item, place of the value)


Spot = Parts | yaml.Event  # of a scalar, its event


@dataclass(frozen=True)
class Document:
    """A file that was read: its mapping, and where the parts of it stand."""

    name: str
    lines: Sequence[str]
    root: dict[str, object]
    parts: Parts

    def error(self, place: Place, problem: str, on_key: bool = False) -> RegistryError:
        """The error for the value at `place`, with file, line and column."""
        return self.error_at(*self.locate(place, on_key), problem)

    def error_at(self, line: int, column: int, problem: str) -> RegistryError:
        return RegistryError(f"{self.name}:{line}:{column}: {problem}")

    def holds(self, place: Place) -> bool:
        """True when there is a value at `place`."""
        return len(list(_along(self.parts, place))) == len(place)

    def locate(self, place: Place, on_key: bool = False) -> Mark:
        """Line and column of the deepest part of `place` that exists; of its key if `on_key`."""
        found: Spot = self.parts
        for depth, (key, value) in enumerate(_along(self.parts, place), start=1):
            found = key if on_key and depth == len(place) else value
        return _mark(found)

    def starts(self) -> dict[str, Mark]:
        """Line and column of every key of the root, in the order of the file."""
        return {str(key): _mark(event) for key, (event, _) in self.parts.places.items()}


def read(path: Path, limit: int = MAX_BYTES) -> Document:
    """The document in `path`. Raises RegistryError with line and column for anything not plain."""
    try:
        with path.open("rb") as file:  # a device or a pipe has no size that could be asked for
            data = file.read(limit + 1)
        if len(data) > limit:
            msg = f"{path}: a registry file has at most {limit} bytes. Is it the right file?"
            raise RegistryError(msg)
        text = data.decode("utf-8")
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). Check the path given to --registry."
        raise RegistryError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: byte {error.start} is not UTF-8. A registry is a text file in UTF-8."
        raise RegistryError(msg) from error
    return document(text, str(path))


def document(text: str, name: str) -> Document:
    """The document written in `text`. Raises RegistryError like `read`."""
    root, parts = _read(text, name)
    if not isinstance(parts, Parts) or not isinstance(root, dict):
        kind = "a sequence" if isinstance(root, list) else f"the scalar {root!r}"
        msg = f"{name}:1:1: expected a mapping with `version: 1` at the top, found {kind}"
        raise RegistryError(msg)
    return Document(name, text.splitlines(), root, parts)


def parse(text: str, name: str = "text") -> object:
    """The value written in `text`: dict, list, str, int, float, bool or None."""
    return _read(text, name)[0]


def scalar(text: str) -> object:
    """The value of an unquoted scalar: None, bool, int, float or the text itself.

    Raises ValueError for a number that is not finite or has too many digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _STARTS_NUMBER:
        return text
    if _INT.match(text):
        return whole_number(text)
    return real_number(text) if _FLOAT.match(text) else text


def _read(text: str, name: str) -> tuple[object, Spot | None]:
    try:
        return _PlainReader(text, name).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise RegistryError(f"{name}:{line}:{column}: not YAML: {said}") from error
    except UnicodeEncodeError as error:  # half a character, of a file name that is no text
        raise RegistryError(f"{name}: {text!r:.60} is no text") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        problem = f"character U+{error.character:04X}: {error.reason}"
        raise RegistryError(f"{name}:{line}:{column}: not YAML: {problem}") from error


class _PlainReader:
    """Values from the events of the fast parser; refuses what is not plain data."""

    def __init__(self, text: str, name: str) -> None:
        self._name = name
        self._next = _PARSER(text).get_event

    def document(self) -> tuple[object, Spot | None]:
        self._next()  # the stream starts
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None, None
        found = self._value(self._next(), 0)
        self._next()  # the document ends
        after = self._next()
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, "expected a single document, another one begins here")
        return found

    def _value(self, event: yaml.Event, depth: int) -> tuple[object, Spot]:
        """A value and where it stands. depth: of mappings and sequences around it."""
        self._require_plain(event)
        if type(event) is ScalarEvent:
            self._require_writable(event)
            return event.value if event.style else self._bare(event), event
        if depth >= MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        items = self._items if type(event) is SequenceStartEvent else self._mapping
        return items(event, depth + 1)

    def _items(self, start: yaml.Event, depth: int) -> tuple[list[object], Parts]:
        values: list[object] = []
        parts = Parts(start, {})
        while type(event := self._next()) is not SequenceEndEvent:
            value, spot = self._value(event, depth)
            parts.places[len(values)] = event, spot
            values.append(value)
        return values, parts

    def _mapping(self, start: yaml.Event, depth: int) -> tuple[dict[str, object], Parts]:
        values: dict[str, object] = {}
        parts = Parts(start, {})
        while type(event := self._next()) is not MappingEndEvent:
            self._require_plain(event)
            if type(event) is not ScalarEvent:
                self._refuse(event, "a key must be a single word or text")
            self._require_writable(event)
            key = event.value
            if key in values:
                first, _ = _mark(parts.places[key][0])
                problem = f"key {key!r} appears twice in one mapping (first on line {first})"
                self._refuse(event, problem)
            values[key], spot = self._value(self._next(), depth)
            parts.places[key] = event, spot
        return values, parts

    def _bare(self, event: ScalarEvent) -> object:
        try:
            return scalar(event.value)
        except ValueError as error:
            self._refuse(event, f"{error}. Is it a text? Then put it in quotes")

    def _require_writable(self, event: ScalarEvent) -> None:
        """Neither a file nor a file name can hold the character 0 or half a character."""
        if event.value.isprintable():  # nearly always
            return
        found = _UNWRITABLE.search(event.value)
        if found is not None:
            self._refuse(event, f"character U+{ord(found[0]):04X} in a text; take it out")

    def _require_plain(self, event: Any) -> None:
        if type(event) is yaml.AliasEvent:
            self._refuse(
                event, f"alias *{event.anchor}: write the value out, aliases are not plain"
            )
        if event.anchor is not None:
            self._refuse(event, f"anchor &{event.anchor}: anchors are not plain data, remove it")
        if event.tag is not None:
            self._refuse(event, f"tag {event.tag!r}: only plain YAML is read, remove the tag")

    def _refuse(self, event: yaml.Event, problem: str) -> NoReturn:
        line, column = _mark(event)
        raise RegistryError(f"{self._name}:{line}:{column}: {problem}")


def _along(spot: Spot, place: Place) -> Iterator[tuple[yaml.Event, Spot]]:
    """(key, value) from the root along `place`, as far as it exists; an item is its own key."""
    for step in place:
        found = spot.places.get(step) if isinstance(spot, Parts) else None
        if found is None:
            return
        yield found
        spot = found[1]


def _mark(at: Spot) -> Mark:
    mark = (at.event if isinstance(at, Parts) else at).start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
