"""The results table inside a markdown file, between two markers, kept in step with the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import MetricError
from harness.reports.tables import COLUMNS, LEGEND, Row

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def table(rows: Sequence[Row]) -> str:
    """Markdown: one line per row, linked to its record; notes as a numbered list below."""
    notes = sorted({row.note for row in rows if row.note})
    head = "| " + " | ".join(column.head for column in COLUMNS) + " |"
    rule = "| " + " | ".join("---:" if column.right else "---" for column in COLUMNS) + " |"
    body = ["| " + " | ".join(_cells(row, notes)) + " |" for row in rows]
    below = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([head, rule, *body, "", LEGEND, *(["", *below] if below else [])])


def _cells(row: Row, notes: Sequence[str]) -> list[str]:
    cells = [column.text(row) for column in COLUMNS]
    mark = f" [{notes.index(row.note) + 1}]" if row.note else ""
    cells[0] = f"[`{row.entry}`](reports/results/{row.entry}/{row.result_id}.json){mark}"
    return cells


def replaced(text: str, rows: Sequence[Row]) -> str:
    """`text` with everything between the markers replaced. Raises MetricError without them."""
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise MetricError(f"no place for the table: expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


def update(file: Path, rows: Sequence[Row]) -> bool:
    """Rewrite the table in `file`; True if that changed anything."""
    old = file.read_text()
    new = replaced(old, rows)
    if new != old:
        file.write_text(new)
    return new != old
