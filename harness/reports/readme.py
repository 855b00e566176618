"""The results table inside a markdown file, between two markers, kept in step with the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.errors import MetricError
from harness.reports.tables import Column, Row, legend, shown_columns

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def table(rows: Sequence[Row]) -> str:
    """Markdown: one line per row, linked to its record; notes as a numbered list below."""
    notes = sorted({row.note for row in rows if row.note})
    columns = shown_columns(rows)
    head = "| " + " | ".join(column.head for column in columns) + " |"
    rule = "| " + " | ".join("---:" if column.right else "---" for column in columns) + " |"
    body = ["| " + " | ".join(_cells(row, columns, notes)) + " |" for row in rows]
    below = [f"{number}. {note}" for number, note in enumerate(notes, 1)]
    return "\n".join([head, rule, *body, "", legend(rows), *(["", *below] if below else [])])


def _cells(row: Row, columns: Sequence[Column], notes: Sequence[str]) -> list[str]:
    cells = [column.text(row) for column in columns]
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
