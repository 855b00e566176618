"""A paper's tables on a terminal: what is printed, below it what was found and its verdict.

Where a table is wider than the terminal, every figure takes a line of its own.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from harness.reports.papers.paper_tables import (
    LEGEND,
    PaperRow,
    PaperTable,
    found_texts,
    heading,
    here_text,
    printed_text,
)
from harness.reports.table.cells import MISSING, folded, status_style
from harness.results import FigureStatus

if TYPE_CHECKING:
    from rich.text import Text

GAP = 2
SHORTEST_LABEL = 16  # columns
Piece = tuple[str, str]  # text and rich style


def paper_screen(tables: Sequence[PaperTable], width: int) -> Text:
    """All tables for a terminal of `width` columns, each with its summary; then the legend."""
    from rich.text import Text

    screen = Text()
    shown = ""
    for table in tables:
        if table.paper_title != shown:
            shown = table.paper_title
            screen.append(textwrap.fill(shown, width) + "\n\n", "bold underline")
        for line in _screen(table, width):
            for text, style in line:
                screen.append(text, style)
            screen.append("\n")
        screen.append("\n")
    return screen.append(textwrap.fill(LEGEND, width), "dim")


def _screen(table: PaperTable, width: int) -> Iterator[list[Piece]]:
    for line in textwrap.wrap(table.title, width):
        yield [(line, "bold")]
    widths = [_width(table, metric) for metric in table.metrics]
    longest = max(len(row.label) for row in table.rows)
    room = width - sum(widths) - GAP * len(widths)
    spanning = max(len(row.waiting) for row in table.rows)
    room = min(room, width - GAP - spanning)
    if room >= min(longest, SHORTEST_LABEL):
        label = min(longest, room)
        heads = (heading(m).rjust(w) for m, w in zip(table.metrics, widths, strict=True))
        yield [(" " * label + "".join(" " * GAP + head for head in heads), "dim")]
        for row in table.rows:
            yield from _beside(row, table.metrics, widths, label)
    else:
        for row in table.rows:
            yield from _below(row, width)
    for line in textwrap.wrap(table.summary, width):
        yield [(line, "italic")]


def _width(table: PaperTable, metric: str) -> int:
    texts = [heading(metric)]
    for row in table.rows:
        figure = row.cells.get(metric)
        if figure is not None:
            texts.append(printed_text(figure.published))
            texts += () if row.waiting else found_texts(figure)
    return max(map(len, texts))


def _beside(
    row: PaperRow, metrics: Sequence[str], widths: Sequence[int], label: int
) -> Iterator[list[Piece]]:
    """The line as the paper prints it; below it what was found, and the verdicts."""
    cells = [row.cells.get(metric) for metric in metrics]
    lines = [[(printed_text(c.published) if c else MISSING, "") for c in cells]]
    if not row.waiting:
        found = [found_texts(c) if c else (MISSING, "") for c in cells]
        lines.append([(text, "") for text, _ in found])
        lines.append([(word, _style(c)) for (_, word), c in zip(found, cells, strict=True)])
    shown: list[list[Piece]] = [
        [
            (" " * GAP + text.rjust(width), style)
            for (text, style), width in zip(line, widths, strict=True)
        ]
        for line in lines
    ]
    if row.waiting:
        style = _style(next(iter(row.cells.values())))
        shown.append([(" " * GAP + row.waiting, style)])
    for part, pieces in zip_longest(folded(row.label, label).split("\n"), shown, fillvalue=None):
        yield [((part or "").ljust(label), ""), *(pieces or [])]


def _below(row: PaperRow, width: int) -> Iterator[list[Piece]]:
    for line in folded(row.label, width).split("\n"):
        yield [(line, "")]
    heads = max(len(heading(metric)) for metric in row.cells)
    printed = max(len(printed_text(figure.published)) for figure in row.cells.values())
    for metric, figure in row.cells.items():
        text = f"  {heading(metric):<{heads}}  {printed_text(figure.published):>{printed}}  "
        found = here_text(figure)
        if len(text) + len(found) <= width:
            yield [(text, ""), (found, _style(figure))]
        else:
            yield [(text.rstrip(), "")]
            yield from (
                [(f"    {line}", _style(figure))] for line in textwrap.wrap(found, width - 4)
            )


def _style(figure: FigureStatus | None) -> str:
    if figure is None or figure.waits_for or figure.outcome == "cannot be checked":
        return "dim"
    if figure.comparison is None or figure.outcome == "doubtful":
        return "yellow"
    return status_style(figure.comparison.status)
