"""The results table inside a markdown file, between two markers, kept in step with the results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness import paths
from harness.errors import MetricError
from harness.reports.table.columns import Column
from harness.reports.table.formats import INDENT, render_leaderboard
from harness.reports.table.rows import Row

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def table(rows: Sequence[Row], columns: Sequence[Column] | None, records: str) -> str:
    """The markdown table of `bench table`, each entry linked to its record below `records`."""
    lines = render_leaderboard(rows, "markdown", columns).split("\n")
    for place, row in enumerate(rows, start=2):  # below the head and the rule
        shown = f"| {INDENT if row.is_baseline else ''}"
        link = f"[`{row.entry}`]({records}/{row.entry}/{row.result_id}.json)"
        rest = lines[place].removeprefix(f"{shown}{row.entry}")
        lines[place] = f"{shown}{link}{rest}"
    return "\n".join(lines)


def replaced(
    text: str,
    rows: Sequence[Row],
    columns: Sequence[Column] | None = None,
    records: str = "reports/results",
) -> str:
    """`text` with everything between the markers replaced. Raises MetricError without them.

    records: the results folder, as links from the file lead there.
    """
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise MetricError(f"no place for the table: expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(rows, columns, records)}\n{END}{after}"


def update_readme(file: Path, rows: Sequence[Row], columns: Sequence[Column] | None = None) -> bool:
    """Rewrite the table in `file`; True if that changed anything."""
    old = file.read_text()
    there = os.path.relpath(paths.layers("results")[0], file.resolve().parent)
    new = replaced(old, rows, columns, Path(there).as_posix())
    if new != old:
        file.write_text(new)
    return new != old
