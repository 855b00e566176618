"""The leaderboard on a terminal: what does not fit beside folds below, nothing is cut off.

Cells are laid out here rather than by rich's own table, which takes seconds for ten thousand rows.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reports.table.cells import MISSING, folded, status_style
from harness.reports.table.columns import ENTRY, VERDICT, Column, legend, marks, shown_columns
from harness.reports.table.formats import INDENT
from harness.reports.table.rows import Row

if TYPE_CHECKING:
    from rich.segment import Segments

GAP = 2
SHORTEST_ENTRY = 26  # columns; where an id has less, it stands on a line of its own
DETAIL = 3  # from this priority on, a column folds before an id does
SHORTEST_TEXT = 12  # "contradicted", the longest word of a verdict


def leaderboard_screen(
    rows: Sequence[Row], width: int, columns: Sequence[Column] | None = None
) -> Segments:
    """The table for a terminal of `width` columns, with its legend and notes."""
    from rich.segment import Segment, Segments
    from rich.style import Style

    columns = tuple(columns or shown_columns(rows))
    numbered = marks(rows)
    texts = {c.key: [c.text(r) for r in rows] for c in columns}
    layout = _fit(rows, columns, texts, width, numbered)
    known: dict[str, Style | None] = {"": None}
    parts: list[Segment] = []
    for text, name in _lines(rows, layout, texts, numbered, legend(columns)):
        if name not in known:
            known[name] = Style.parse(name)
        parts.append(Segment(text, known[name]))
    return Segments(parts)


@dataclass(frozen=True, slots=True)
class _FittedColumns:
    """Where the cells of a row go. Stacked: the entry on a line of its own, the others under it."""

    beside: tuple[Column, ...]  # the columns of one line
    widths: tuple[int, ...]  # of these
    below: tuple[Column, ...]  # folded into a paragraph
    stacked: bool
    width: int  # of the terminal


def _fit(
    rows: Sequence[Row],
    columns: Sequence[Column],
    texts: Mapping[str, Sequence[str]],
    width: int,
    numbered: Mapping[str, str],
) -> _FittedColumns:
    """As many columns beside each other as fit; the least important ones fold first."""
    natural = {c.key: max(map(len, [c.head, *texts[c.key]])) for c in columns}
    natural[ENTRY.key] = max(
        [len(ENTRY.head), *(len(_indent(r) + r.entry + _mark(r, numbered)) for r in rows)]
    )

    def least(column: Column) -> int:
        shortest = SHORTEST_ENTRY if column is ENTRY else SHORTEST_TEXT
        return natural[column.key] if column.right else min(natural[column.key], shortest)

    def needed(columns: Sequence[Column], whole: bool = False) -> int:
        widths = [natural[c.key] if whole else least(c) for c in columns]
        return sum(widths) + GAP * (len(columns) - 1)

    core = [c for c in columns if c.priority == 0]
    stacked = needed(core) > width
    room = width - GAP if stacked else width
    candidates = [c for c in columns if c is not ENTRY or not stacked]
    by_importance = sorted(candidates, key=lambda c: c.priority)
    while by_importance and (
        needed(by_importance) > room
        or (by_importance[-1].priority >= DETAIL and needed(by_importance, whole=True) > room)
    ):
        by_importance.pop()
    beside = tuple(c for c in candidates if c in by_importance)
    widths = {c.key: least(c) for c in beside}
    spare = room - needed(beside)
    for column in sorted(beside, key=lambda c: natural[c.key] - widths[c.key]):
        given = max(0, min(spare, natural[column.key] - widths[column.key]))
        widths[column.key] += given
        spare -= given
    below = tuple(c for c in candidates if c not in beside)
    return _FittedColumns(beside, tuple(widths[c.key] for c in beside), below, stacked, width)


def _lines(
    rows: Sequence[Row],
    layout: _FittedColumns,
    texts: Mapping[str, Sequence[str]],
    numbered: Mapping[str, str],
    explained: str,
) -> Iterator[tuple[str, str]]:
    """(text, style) from head to notes; line ends are part of the text."""
    if layout.stacked:
        yield ENTRY.head + "\n", "bold"
    yield "".join(text for text, _ in _grid([[c.head] for c in layout.beside], layout)), "bold"
    for place, r in enumerate(rows):
        if layout.stacked:
            for line in _entry(r, layout.width, numbered):
                yield line + "\n", "dim" if r.outdated else ""
        cells = [
            _entry(r, width, numbered)
            if column is ENTRY
            else _wrapped(texts[column.key][place], width)
            for column, width in zip(layout.beside, layout.widths, strict=True)
        ]
        style = status_style(r.verdict)
        for text, is_verdict in _grid(cells, layout):
            yield text, "dim" if r.outdated else style if is_verdict else ""
        for line in _below([(c.head, texts[c.key][place]) for c in layout.below], layout.width):
            yield line + "\n", "dim"
    for note in (explained, *(f"{mark} {note}" for note, mark in numbered.items())):
        yield textwrap.fill(note, layout.width) + "\n", "dim"


def _wrapped(text: str, width: int) -> list[str]:
    return [text] if len(text) <= width else textwrap.wrap(text, width)


def _grid(cells: Sequence[Sequence[str]], layout: _FittedColumns) -> Iterator[tuple[str, bool]]:
    """(text, whether it is the verdict's) of one row, line by line."""
    margin = " " * GAP if layout.stacked else ""
    last = len(cells) - 1
    for place in range(max(map(len, cells), default=0)):
        text = margin
        for i, (column, width) in enumerate(zip(layout.beside, layout.widths, strict=True)):
            part = cells[i][place] if place < len(cells[i]) else ""
            if i < last or column.right:
                part = part.rjust(width) if column.right else part.ljust(width)
            if column is VERDICT and part.strip():
                yield text, False
                yield part, True
                text = ""
            else:
                text += part
            text += " " * GAP if i < last else ""
        yield text.rstrip() + "\n", False


def _entry(r: Row, width: int, numbered: Mapping[str, str]) -> list[str]:
    """The id in as many lines as it takes, its mark behind it."""
    first = _indent(r)
    margin = " " * len(first)
    lines = folded(r.entry, width - len(first)).split("\n")
    lines = [first + lines[0], *(margin + line for line in lines[1:])]
    mark = _mark(r, numbered)
    if len(lines[-1]) + len(mark) <= width:
        lines[-1] += mark
    else:
        lines.append(margin + mark.strip())
    return lines


def _indent(r: Row) -> str:
    return INDENT if r.is_baseline else ""


def _mark(r: Row, numbered: Mapping[str, str]) -> str:
    return f" {numbered[r.note]}" if r.note else ""


def _below(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    """What folded (head, text), as one paragraph under the row; dashes are left out."""
    # A fact stays in one piece where it can: only the separators may break.
    shown = [f"{head} {text}".replace(" ", "\0") for head, text in facts if text != MISSING]
    if not shown:
        return []
    indent = "  "
    lines = textwrap.wrap(
        " · ".join(shown),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in lines]
