"""Plain YAML as dicts, lists and scalars that remember where they stood in the file.

Only what data needs: mappings, sequences, scalars. Tags, anchors, aliases, several documents,
deep nesting and big files are refused, so that nothing is executed and nothing can explode.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.errors import RegistryError

MAX_BYTES = 4 << 20  # the registry itself is below 100 kB
MAX_DEPTH = 12  # the deepest place of the registry is at 7

_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?\Z")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}

Mark = tuple[int, int]  # line and column, from 1
Path_ = tuple[Hashable, ...]  # keys and indices from the root to a value


class Map(dict[str, object]):
    """A mapping; `marks[key]` holds the marks of the key and of its value."""

    __slots__ = ("marks",)

    def __init__(self) -> None:
        super().__init__()
        self.marks: dict[Hashable, tuple[Mark, Mark]] = {}


class List(list[object]):
    """A sequence; `marks[i]` holds the mark of item i, twice, as in Map."""

    __slots__ = ("marks",)

    def __init__(self) -> None:
        super().__init__()
        self.marks: dict[Hashable, tuple[Mark, Mark]] = {}


@dataclass(frozen=True)
class Document:
    """A file that was read."""

    name: str
    lines: Sequence[str]
    root: Map

    def error(self, path: Path_, problem: str, on_key: bool = False) -> RegistryError:
        """The error for the value at `path`, with file, line and column."""
        line, column = self.locate(path, on_key)
        return self.error_at(line, column, problem)

    def error_at(self, line: int, column: int, problem: str) -> RegistryError:
        return RegistryError(f"{self.name}:{line}:{column}: {problem}")

    def holds(self, path: Path_) -> bool:
        """True when there is a value at `path`."""
        node: object = self.root
        for step in path:
            if not isinstance(node, Map | List) or step not in node.marks:
                return False
            node = _child(node, step)
        return True

    def locate(self, path: Path_, on_key: bool = False) -> Mark:
        """Line and column of the deepest part of `path` that exists."""
        node: object = self.root
        found = (1, 1)
        for depth, step in enumerate(path):
            if not isinstance(node, Map | List) or step not in node.marks:
                break
            last = depth == len(path) - 1
            found = node.marks[step][0 if last and on_key else 1]
            node = _child(node, step)
        return found


def read(path: Path, limit: int = MAX_BYTES) -> Document:
    """The document in `path`. Raises RegistryError with line and column for anything not plain."""
    try:
        size = path.stat().st_size
        if size > limit:
            msg = (
                f"{path}: {size} bytes; a registry file has at most {limit}. Is it the right file?"
            )
            raise RegistryError(msg)
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). Check the path given to --registry."
        raise RegistryError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: byte {error.start} is not UTF-8. A registry is a text file in UTF-8."
        raise RegistryError(msg) from error
    root = parse(text, str(path))
    if not isinstance(root, Map):
        kind = "a sequence" if isinstance(root, List) else f"the scalar {root!r}"
        msg = f"{path}:1:1: expected a mapping with `version: 1` at the top, found {kind}"
        raise RegistryError(msg)
    return Document(str(path), text.splitlines(), root)


def parse(text: str, name: str = "text") -> object:
    """The value written in `text`: Map, List, str, int, float, bool or None."""
    builder = _Builder(name)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise RegistryError(f"{name}:{line}:{column}: not YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        problem = f"character U+{error.character:04X}: {error.reason}"
        raise RegistryError(f"{name}:{line}:{column}: not YAML: {problem}") from error
    return builder.root


def scalar(text: str) -> object:
    """The value of an unquoted scalar: None, bool, int, float or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


class _Builder:
    """Turns parser events into Map and List, one event at a time, without recursion."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.root: object = None
        self.documents = 0
        self.open: list[Map | List] = []
        self.keys: list[tuple[str, Mark] | None] = []  # per open container: the key that waits

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self.check_node(event)
            plain = event.style is None or event.style == ""
            self.place(event, scalar(event.value) if plain else event.value, event.value)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self.check_node(event)
            container = Map() if isinstance(event, yaml.MappingStartEvent) else List()
            self.place(event, container)
            self.open.append(container)
            self.keys.append(None)
            if len(self.open) > MAX_DEPTH:
                self.refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.open.pop()
            self.keys.pop()
        elif isinstance(event, yaml.AliasEvent):
            self.refuse(event, f"alias *{event.anchor}: write the value out, aliases are not plain")
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                self.refuse(event, "a second document; one file holds one document")

    def check_node(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            self.refuse(event, f"anchor &{event.anchor}: anchors are not plain data, remove it")
        tag = event.tag  # type: ignore[attr-defined]
        if tag is not None:
            self.refuse(event, f"tag {tag!r}: only plain YAML is read, remove the tag")

    def place(self, event: yaml.Event, value: object, key: str | None = None) -> None:
        """Put `value` where the innermost open container expects it."""
        if not self.open:
            self.root = value
            return
        mark = _mark(event)
        container = self.open[-1]
        if isinstance(container, List):
            container.marks[len(container)] = (mark, mark)
            container.append(value)
        elif (waiting := self.keys[-1]) is None:
            if key is None:
                self.refuse(event, "a key must be a single word or text")
            elif key in container:
                first = container.marks[key][0][0]
                self.refuse(
                    event, f"key {key!r} appears twice in one mapping (first on line {first})"
                )
            else:
                self.keys[-1] = (key, mark)
        else:
            container[waiting[0]] = value
            container.marks[waiting[0]] = (waiting[1], mark)
            self.keys[-1] = None

    def refuse(self, event: yaml.Event, problem: str) -> None:
        line, column = _mark(event)
        raise RegistryError(f"{self.name}:{line}:{column}: {problem}")


def _mark(event: yaml.Event) -> Mark:
    assert event.start_mark is not None
    return event.start_mark.line + 1, event.start_mark.column + 1


def _child(node: Map | List, step: Hashable) -> object:
    if isinstance(node, Map):
        return node[step] if isinstance(step, str) else None
    return node[step] if isinstance(step, int) else None
