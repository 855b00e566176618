"""Leaderboard lines: the rows of `bench table`, then published rows that nobody measured here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness.registry import Entry, Registry
from harness.reports.site.words import NOT_MEASURED, dataset_title, tone
from harness.reports.table.cells import MISSING
from harness.reports.table.columns import BY_KEY, Column
from harness.reports.table.leaderboard import Wanted, leaderboard
from harness.reports.table.published_rows import with_unmeasured
from harness.reports.table.rows import Row

COLUMNS = tuple(
    BY_KEY[key]
    for key in (
        "published",
        "evaluated",
        "retrained",
        "delta",
        "sparsity",
        "macs",
        "n",
        "version",
        "date",
    )
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: what is shown, and what it is sorted by (None: always last)."""

    column: Column
    text: str
    value: float | str | None
    claimed: bool = False  # as published, not measured


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a leaderboard, measured or not."""

    entry: str
    dataset: str
    method: str
    model: str
    paper: str | None
    verdict: str
    about: str
    tone: str
    reason: str
    note: str
    cells: tuple[Cell, ...]
    measured: bool
    is_baseline: bool = False
    outdated: bool = False
    partial: str = ""


@dataclass(frozen=True, slots=True)
class Board:
    """The leaderboard of one data set."""

    key: str
    title: str
    rows: tuple[Row, ...]  # what `bench table --dataset KEY` shows, then what nobody measured
    measured: tuple[Line, ...]
    unmeasured: tuple[Line, ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        """One line per row."""
        return (*self.measured, *self.unmeasured)

    @property
    def by_paper(self) -> dict[str, list[Line]]:
        """Paper -> its lines that nobody measured."""
        found: dict[str, list[Line]] = {}
        for line in self.unmeasured:
            found.setdefault(line.paper or "", []).append(line)
        return found

    def choices(self, name: str) -> list[str]:
        """Values of a line's field, sorted, for a filter."""
        return sorted({value for line in self.lines if (value := getattr(line, name))})


def boards(registry: Registry, rows: Sequence[Row]) -> list[Board]:
    """One board per data set with results or entries; those with most measured rows first."""
    of_set: dict[str, list[Row]] = {e.dataset: [] for e in registry.entries.values()}
    for row in rows:
        of_set.setdefault(row.dataset, []).append(row)
    found = [board(name, registry, mine) for name, mine in of_set.items()]
    return sorted(found, key=lambda b: (-len(b.measured), -len(b.unmeasured), b.key))


def board(dataset: str, registry: Registry, rows: Sequence[Row]) -> Board:
    """The board of one data set."""
    shown = leaderboard(rows, registry, Wanted(dataset=(dataset,)))
    there = {row.entry for row in shown}
    missing = {e.id: e for e in registry.select(dataset=dataset) if e.id not in there}
    waiting = with_unmeasured([], replace(registry, entries=missing))
    return Board(
        key=dataset,
        title=dataset_title(dataset),
        rows=(*shown, *waiting),
        measured=tuple(map(measured_line, shown)),
        unmeasured=unmeasured_lines(missing.values()),
    )


def measured_line(row: Row) -> Line:
    """A row of the table as a line."""
    return Line(
        entry=row.entry,
        dataset=row.dataset,
        method=row.method,
        model=row.model,
        paper=row.paper,
        verdict=row.verdict,
        about=row.about,
        tone=tone(row.verdict),
        reason=row.reason,
        note=row.note,
        cells=tuple(_cell(column, row) for column in COLUMNS),
        measured=True,
        is_baseline=row.is_baseline,
        outdated=row.outdated,
        partial=row.partial,
    )


def unmeasured_lines(entries: Iterable[Entry]) -> tuple[Line, ...]:
    """Published rows without a result; what was published stands as such."""
    return tuple(_unmeasured(entry) for entry in entries)


def _cell(column: Column, row: Row) -> Cell:
    value = getattr(row, column.fields[0])
    if column.key == "published" and value is not None:
        value = float(value)
    return Cell(column, column.text(row), value)


def _unmeasured(entry: Entry) -> Line:
    cells = []
    printed_in = {"sparsity": entry.published.get("sparsity_pct"), "published": entry.top1}
    for column in COLUMNS:
        printed = printed_in.get(column.key)
        if printed is None:
            cells.append(Cell(column, MISSING, None))
        else:
            doubt = "?" if printed.suspect else ""
            cells.append(
                Cell(column, printed.text + doubt, printed.value, column.key == "sparsity")
            )
    return Line(
        entry=entry.id,
        dataset=entry.dataset,
        method=entry.method,
        model=entry.model,
        paper=entry.paper,
        verdict=NOT_MEASURED,
        about="",
        tone=tone(NOT_MEASURED),
        reason="",
        note="",
        cells=tuple(cells),
        measured=False,
    )
