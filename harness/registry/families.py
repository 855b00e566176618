"""Families of the registry file into entries.

A family holds what its rows share; a row overrides it, `settings`, `published` and `checkpoint`
key by key. Rows are mappings under `rows`, or, for long tables of numbers, lines of words under
`table` whose meaning `columns` gives: `id`, a field of an entry, a published metric, or
`settings.NAME`; "-" leaves the cell out. `doubts` names the cells of a table that are shown but
never judged, and why: {id: {metric: reason}}.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.errors import RegistryError
from harness.registry import plain_yaml
from harness.registry.entries import METRICS, Entry, Published, is_metric
from harness.registry.fields import Fault, from_mapping, nearest
from harness.registry.plain_yaml import Document

_MERGED = ("settings", "published", "checkpoint")
_ROW_ONLY = ("id", "aliases")
_FIELDS = tuple(f.name for f in dataclasses.fields(Entry) if f.name != "suites")
_FAMILY = (*(f for f in _FIELDS if f not in _ROW_ONLY), "rows", "columns", "table", "doubts")
_CELL_DEFAULTS = ("source", "n_runs", "assumed_std")
_WORD = re.compile(r"\S+")

Path = tuple[object, ...]
Family = dict[str, object]


@dataclass(frozen=True)
class EntryPlace:
    """Where an entry was written, for errors found later."""

    document: Document
    family: Path
    row: Path  # empty for a line of a table
    mark: tuple[int, int]

    def error(self, key: str, problem: str) -> RegistryError:
        """The error for the value of `key`, in the row if it stands there, else in the family."""
        for path in (self.row, self.family):
            if path and self.document.holds((*path, key)):
                return self.document.error((*path, key), problem)
        return self.document.error_at(*self.mark, problem)


def entries(document: Document) -> Iterator[tuple[Entry, EntryPlace]]:
    """Every row of every family of `document`. Raises RegistryError with file, line, column."""
    families = document.root.get("families", [])
    if not isinstance(families, list):
        raise document.error(("families",), f"expected a list of families, found {families!r}")
    for i, family in enumerate(families):
        path: Path = ("families", i)
        if not isinstance(family, dict):
            raise document.error(path, f"expected a family (a mapping), found {family!r}")
        _check_keys(document, family, _FAMILY, path)
        _check_shape(document, family, path)
        yield from _written_rows(document, family, path)
        yield from _table_rows(document, family, path)


def _written_rows(
    document: Document, family: Family, path: Path
) -> Iterator[tuple[Entry, EntryPlace]]:
    rows = family.get("rows", [])
    assert isinstance(rows, list)
    for i, row in enumerate(rows):
        place = (*path, "rows", i)
        if not isinstance(row, dict):
            raise document.error(place, f"expected a row (a mapping), found {row!r}")
        _check_keys(document, row, _FIELDS, place)
        origin = EntryPlace(document, path, place, document.locate(place))
        try:
            entry = _entry(family, row)
        except Fault as fault:
            raise _located(origin, fault) from None
        yield entry, origin


def _table_rows(
    document: Document, family: Family, path: Path
) -> Iterator[tuple[Entry, EntryPlace]]:
    if "table" not in family:
        return
    columns = _columns(document, family, path)
    doubts = _doubts(document, family, path)
    first = document.locate((*path, "table"))[0] + 1
    text = family["table"]
    assert isinstance(text, str)
    seen = set()
    for number in range(first, first + text.count("\n")):
        words = list(_WORD.finditer(document.lines[number - 1]))
        if not words:
            continue
        marks = [(number, word.start() + 1) for word in words]
        cells = [word.group() for word in words]
        if len(cells) != len(columns):
            msg = f"{len(cells)} cells in a table of {len(columns)} columns"
            raise document.error_at(number, 1, msg)
        seen.add(cells[columns.index("id")])
        origin = EntryPlace(document, path, (), marks[0])
        try:
            entry = _entry(family, _row_of_cells(columns, cells, doubts))
        except Fault as fault:
            raise _located_in_table(origin, fault, columns, marks) from None
        yield entry, origin
    for id_ in doubts:
        if id_ not in seen:
            msg = f"no row of this table is called {id_!r}{nearest(id_, seen)}"
            raise document.error((*path, "doubts", id_), msg, on_key=True)


def _entry(family: Mapping[str, object], row: Mapping[str, object]) -> Entry:
    merged = {key: value for key, value in family.items() if key in _FIELDS} | dict(row)
    for key in _MERGED:
        shared, own = family.get(key), row.get(key)
        if isinstance(shared, Mapping) and isinstance(own, Mapping):
            merged[key] = {**shared, **own}
    if isinstance(published := merged.get("published"), Mapping):
        merged["published"] = _published(published)
    checked = {key: value for key, value in merged.items() if key != "published"}
    entry = from_mapping(Entry, checked)
    cells = merged.get("published", {})
    if not isinstance(cells, dict):
        raise Fault(("published",), f"expected a mapping, found {cells!r}")
    return dataclasses.replace(entry, published=cells)


def _published(mapping: Mapping[str, object]) -> dict[str, Published]:
    """Metric name -> printed number, with the defaults that stand next to the numbers."""
    defaults = {key: mapping[key] for key in _CELL_DEFAULTS if key in mapping}
    cells = {}
    for metric, cell in mapping.items():
        if metric in _CELL_DEFAULTS:
            continue
        place = ("published", metric)
        if not is_metric(metric):
            msg = f"unknown metric {metric!r}{nearest(metric, (*METRICS, *_CELL_DEFAULTS))}"
            raise Fault(place, msg, on_key=True)
        own = cell if isinstance(cell, Mapping) else {"text": cell}
        try:
            cells[metric] = from_mapping(Published, {**defaults, **own})
        except Fault as fault:
            raise _explained(fault, cell).below(*place) from None
    return cells


def _explained(fault: Fault, cell: object) -> Fault:
    """The fault of a bare cell, told about the cell and not about the type behind it."""
    if isinstance(cell, Mapping):
        return fault
    if isinstance(cell, str):
        return Fault((), fault.problem)
    return Fault((), f'expected a printed number in quotes, such as "75.03", found {cell!r}')


def _row_of_cells(
    columns: tuple[str, ...], cells: list[str], doubts: Mapping[str, Mapping[str, str]]
) -> dict[str, object]:
    row: dict[str, object] = {}
    published: dict[str, object] = {}
    settings: dict[str, object] = {}
    doubted = doubts.get(cells[columns.index("id")], {})
    for column, cell in zip(columns, cells, strict=True):
        if cell == "-":
            continue
        if column.startswith("settings."):
            settings[column.removeprefix("settings.")] = _setting(column, cell)
        elif is_metric(column):
            reason = doubted.get(column)
            doubt = {"suspect": True, "note": reason} if reason else {}
            published[column] = {"text": cell, **doubt}
        else:
            row[column] = cell
    return row | {"published": published, "settings": settings}


def _setting(column: str, cell: str) -> object:
    try:
        return plain_yaml.scalar(cell)
    except ValueError as error:
        raise Fault(tuple(column.split(".", 1)), str(error)) from error


def _columns(document: Document, family: Family, path: Path) -> tuple[str, ...]:
    columns = family.get("columns")
    if not isinstance(columns, list) or not all(isinstance(c, str) for c in columns):
        raise document.error((*path, "columns"), "a table needs `columns`, a list of names")
    known = (*(f for f in _FIELDS if f not in _MERGED), *METRICS)
    for i, column in enumerate(columns):
        named = str(column)
        if named not in known and not is_metric(named) and not named.startswith("settings."):
            msg = f"unknown column {column!r}{nearest(named, known)}"
            raise document.error((*path, "columns", i), msg)
    if "id" not in columns:
        raise document.error((*path, "columns"), "one of the columns must be `id`")
    return tuple(str(column) for column in columns)


def _doubts(document: Document, family: Family, path: Path) -> dict[str, dict[str, str]]:
    doubts = family.get("doubts", {})
    place = (*path, "doubts")
    if not isinstance(doubts, dict):
        raise document.error(place, f"expected {{id: {{metric: reason}}}}, found {doubts!r}")
    columns = family["columns"]
    assert isinstance(columns, list)
    result: dict[str, dict[str, str]] = {}
    for id_, cells in doubts.items():
        if not isinstance(cells, dict):
            raise document.error((*place, id_), f"expected {{metric: reason}}, found {cells!r}")
        for metric, reason in cells.items():
            if not is_metric(metric) or metric not in columns:
                msg = f"no column of this table is the metric {metric!r}"
                raise document.error((*place, id_, metric), msg, on_key=True)
            if not isinstance(reason, str) or not reason:
                raise document.error((*place, id_, metric), "a doubt needs a reason")
        result[id_] = {metric: str(reason) for metric, reason in cells.items()}
    return result


def _check_keys(document: Document, mapping: Family, known: tuple[str, ...], path: Path) -> None:
    for key in mapping:
        if key not in known:
            msg = f"unknown key {key!r}{nearest(key, known)}"
            raise document.error((*path, key), msg, on_key=True)


def _check_shape(document: Document, family: Family, path: Path) -> None:
    for key in _MERGED:
        if family.get(key) is not None and not isinstance(family[key], dict):
            raise document.error((*path, key), f"expected a mapping, found {family[key]!r}")
    if not isinstance(family.get("rows", []), list):
        raise document.error((*path, "rows"), f"expected a list of rows, found {family['rows']!r}")
    if "table" not in family:
        if "rows" not in family:
            raise document.error(path, "a family needs `rows` or `table`")
        for key in ("columns", "doubts"):
            if key in family:
                raise document.error((*path, key), f"`{key}` belongs to a `table`", on_key=True)
        return
    line = document.locate((*path, "table"))[0]
    if not isinstance(family["table"], str) or not document.lines[line - 1].rstrip().endswith("|"):
        raise document.error((*path, "table"), "a table is a block of lines after `table: |`")


def _located(origin: EntryPlace, fault: Fault) -> RegistryError:
    """The error where the value stands: in the row, else in the family it was taken from."""
    document = origin.document
    taken = not document.holds((*origin.row, *fault.path))
    if taken and document.holds((*origin.family, *fault.path)):
        return document.error((*origin.family, *fault.path), fault.problem, fault.on_key)
    return document.error((*origin.row, *fault.path), fault.problem, fault.on_key)


def _located_in_table(
    origin: EntryPlace, fault: Fault, columns: tuple[str, ...], marks: list[tuple[int, int]]
) -> RegistryError:
    names = {str(step) for step in fault.path} | {f"settings.{step}" for step in fault.path[1:]}
    for column, mark in zip(columns, marks, strict=True):
        if column in names:
            return origin.document.error_at(*mark, fault.problem)
    return origin.error(str(fault.path[0]) if fault.path else "id", fault.problem)
