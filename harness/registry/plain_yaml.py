"""Plain YAML as dicts, lists and scalars, beside PyYAML's nodes that know where they stand.

Only what data needs: mappings, sequences, scalars. Tags, anchors, aliases, several documents,
deep nesting and big files are refused, so that nothing is executed and nothing can explode.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.resolver import BaseResolver

from harness.errors import RegistryError
from harness.system import real_number, whole_number

MAX_BYTES = 4 << 20  # the registry itself is below 100 kB
MAX_DEPTH = 12  # the deepest place of the registry is at 7

_PARSER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # libyaml where PyYAML was built with it
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?\Z")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}

Mark = tuple[int, int]  # line and column, from 1
Place = tuple[Hashable, ...]  # keys and indices from the root to a value


@dataclass(frozen=True)
class Document:
    """A file that was read: its mapping, and the nodes it was made of."""

    name: str
    lines: Sequence[str]
    root: dict[str, object]
    node: yaml.MappingNode

    def error(self, place: Place, problem: str, on_key: bool = False) -> RegistryError:
        """The error for the value at `place`, with file, line and column."""
        return self.error_at(*self.locate(place, on_key), problem)

    def error_at(self, line: int, column: int, problem: str) -> RegistryError:
        return RegistryError(f"{self.name}:{line}:{column}: {problem}")

    def holds(self, place: Place) -> bool:
        """True when there is a value at `place`."""
        return len(list(_along(self.node, place))) == len(place)

    def locate(self, place: Place, on_key: bool = False) -> Mark:
        """Line and column of the deepest part of `place` that exists; of its key if `on_key`."""
        found: yaml.Node = self.node
        for depth, (key, value) in enumerate(_along(self.node, place), start=1):
            found = key if on_key and depth == len(place) else value
        return _mark(found)

    def starts(self) -> dict[str, Mark]:
        """Line and column of every key of the root, in the order of the file."""
        return {key.value: _mark(key) for key, _ in self.node.value}


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
    return document(text, str(path))


def document(text: str, name: str) -> Document:
    """The document written in `text`. Raises RegistryError like `read`."""
    node = _compose(text, name)
    root = None if node is None else _value(node, name)
    if not isinstance(node, yaml.MappingNode) or not isinstance(root, dict):
        kind = "a sequence" if isinstance(root, list) else f"the scalar {root!r}"
        msg = f"{name}:1:1: expected a mapping with `version: 1` at the top, found {kind}"
        raise RegistryError(msg)
    return Document(name, text.splitlines(), root, node)


def parse(text: str, name: str = "text") -> object:
    """The value written in `text`: dict, list, str, int, float, bool or None."""
    node = _compose(text, name)
    return None if node is None else _value(node, name)


def scalar(text: str) -> object:
    """The value of an unquoted scalar: None, bool, int, float or the text itself.

    Raises ValueError for a number that is not finite or has too many digits.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return whole_number(text)
    return real_number(text) if _FLOAT.match(text) else text


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return _Composer(text, name).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise RegistryError(f"{name}:{line}:{column}: not YAML: {said}") from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        problem = f"character U+{error.character:04X}: {error.reason}"
        raise RegistryError(f"{name}:{line}:{column}: not YAML: {problem}") from error


class _Composer(Composer, BaseResolver):
    """PyYAML's composer over the events of the fast parser; refuses what is not plain data."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__()
        BaseResolver.__init__(self)
        self._name = name
        self._depth = 0
        self._events = yaml.parse(text, Loader=_PARSER)
        self._next = next(self._events, None)

    def check_event(self, *kinds: type[yaml.Event]) -> bool:
        return isinstance(self._next, kinds)

    def peek_event(self) -> yaml.Event | None:
        return self._next

    def get_event(self) -> yaml.Event | None:
        event, self._next = self._next, next(self._events, None)
        return event

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self._next
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, f"alias *{anchor}: write the value out, aliases are not plain")
        if anchor is not None:
            self._refuse(event, f"anchor &{anchor}: anchors are not plain data, remove it")
        if tag is not None:
            self._refuse(event, f"tag {tag!r}: only plain YAML is read, remove the tag")
        if self._depth >= MAX_DEPTH and isinstance(event, yaml.CollectionStartEvent):
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, event: yaml.Event | None, problem: str) -> None:
        line, column = _mark(event)
        raise RegistryError(f"{self._name}:{line}:{column}: {problem}")


def _value(node: yaml.Node, name: str) -> object:
    """What a node stands for; a repeated key is an error."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, name) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        return _bare(node, name) if node.style in (None, "") else node.value
    mapping: dict[str, object] = {}
    for key, item in node.value:
        line, column = _mark(key)
        if not isinstance(key, yaml.ScalarNode):
            msg = f"{name}:{line}:{column}: a key must be a single word or text"
            raise RegistryError(msg)
        if key.value in mapping:
            first = next(_mark(k)[0] for k, _ in node.value if k.value == key.value)
            msg = f"key {key.value!r} appears twice in one mapping (first on line {first})"
            raise RegistryError(f"{name}:{line}:{column}: {msg}")
        mapping[key.value] = _value(item, name)
    return mapping


def _bare(node: yaml.ScalarNode, name: str) -> object:
    try:
        return scalar(node.value)
    except ValueError as error:
        line, column = _mark(node)
        msg = f"{name}:{line}:{column}: {error}. Is it a text? Then put it in quotes"
        raise RegistryError(msg) from error


def _along(node: yaml.Node, place: Place) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """(key, value) nodes from the root along `place`, as far as it exists; an item is its key."""
    for step in place:
        if isinstance(node, yaml.MappingNode):
            pairs = (pair for pair in node.value if pair[0].value == step)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            pairs = ((item, item) for item in node.value[step : step + 1])
        else:
            return
        found = next(pairs, None)
        if found is None:
            return
        yield found
        node = found[1]


def _mark(at: yaml.Event | yaml.Node | None) -> Mark:
    mark = at and at.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
