"""What a board's script reads: its rows as one data file, apart from the markup.

The file calls `board(id, data)`, so that it opens from a disk as well as from a server. Words that
repeat stand once. `harness/reports/templates/board.js` reads it; cells are texts of `bench table`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.reports.plots.axes import AXES
from harness.reports.plots.points import best, costs, plot_points
from harness.reports.site.lines import COLUMNS, Line
from harness.reports.table.rows import Row
from harness.results import LatencyRecord

BASELINE, OUTDATED, MEASURED = 1, 2, 4  # bits of a row's flags
Fronts = dict[str, set[tuple[str, str]]]  # axis -> (entry, kind) of its Pareto front


def board_script(
    key: str,
    rows: Sequence[Row],
    lines: Sequence[Line],
    latencies: Mapping[str, LatencyRecord],
    page_of: Callable[[str], str],
) -> tuple[str, str]:
    """(the data file of a board, the axis to begin with).

    rows and lines: of the board, measured ones first, one line per row. page_of: entry -> address.
    """
    by_axis = [costs(rows, axis, latencies) for axis in AXES.values()]
    fronts: Fronts = {
        name: {(p.entry, p.kind) for p in best(plot_points(rows, axis, latencies), axis)}
        for name, axis in AXES.items()
    }
    words: dict[str, int] = {}
    notes: dict[str, int] = {}

    def word(text: str | None) -> int:
        return words.setdefault(text or "", len(words))

    packed = []
    for place, (row, line) in enumerate(zip(rows, lines, strict=True)):
        kind = "evaluated" if row.evaluated_top1_pct is not None else "retrained"
        packed.append(
            [
                row.entry,
                *map(word, (row.method, row.model, row.paper, row.verdict, row.partial)),
                [cell.text for cell in line.cells],
                BASELINE * row.is_baseline | OUTDATED * row.outdated | MEASURED * line.measured,
                [_short(values[place]) for values in by_axis],
                *map(word, (line.about, line.tone)),
                notes.setdefault(row.note, len(notes)) if line.measured and row.note else -1,
                page_of(row.entry),
                _led((row.entry, kind), fronts),
            ]
        )
    document = {
        "columns": [column.key for column in COLUMNS],
        "heads": [column.head for column in COLUMNS],
        "axes": list(AXES),
        "words": list(words),
        "notes": list(notes),
        "rows": packed,
    }
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    # A line separator ends a line of a script, though not of JSON.
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"board({json.dumps(key)},{text});\n", _first_axis(fronts, by_axis)


def _led(mark: tuple[str, str], fronts: Fronts) -> str:
    """The places of the axes on whose front `mark` stands, a digit each."""
    return "".join(str(place) for place, led in enumerate(fronts.values()) if mark in led)


def _short(value: float | None) -> Any:
    """`value` with no more digits than a chart shows."""
    return round(value, 3) if isinstance(value, float) else value


def _first_axis(fronts: Fronts, by_axis: Sequence[Sequence[float | None]]) -> str:
    """The first axis with a Pareto front, else the one with most values."""
    led = [name for name, front in fronts.items() if front]
    counts = [sum(value is not None for value in values) for values in by_axis]
    return led[0] if led else list(AXES)[counts.index(max(counts))]
