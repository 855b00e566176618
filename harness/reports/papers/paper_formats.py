"""A paper's tables as text: markdown, LaTeX, HTML in its own layout; csv and json by figure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from html import escape

from harness.reports.papers.paper_tables import (
    LEGEND,
    PaperRow,
    PaperTable,
    heading,
    here_text,
    printed_text,
)
from harness.reports.table.cells import MISSING
from harness.reports.table.formats import latex_text
from harness.results import FigureStatus

HERE = "checked here"


def render_paper(tables: Sequence[PaperTable], style: str) -> str:
    """`tables` in one of the styles of `bench table`, but for "rich"."""
    return _RENDERERS[style](tables)


def records(tables: Sequence[PaperTable]) -> list[dict[str, object]]:
    """One flat record per printed figure."""
    return [
        _record(table, row, figure)
        for table in tables
        for row in table.rows
        for figure in row.cells.values()
    ]


def _record(table: PaperTable, row: PaperRow, figure: FigureStatus) -> dict[str, object]:
    published, comparison = figure.published, figure.comparison
    return {
        "paper": table.paper,
        "table": table.title,
        "row": row.label,
        "entry": row.entry,
        "figure": figure.figure,
        "printed": published.text,
        "printed_std": published.std,
        "bound": published.bound,
        "outcome": figure.outcome,
        "basis": figure.basis,
        "waits_for": figure.waits_for,
        "measured": comparison.measured if comparison and figure.basis else None,
        "delta": comparison.delta if comparison and figure.basis else None,
        "status": comparison.status if comparison and figure.basis else None,
        "reason": figure.reason,
        "command": figure.command,
    }


def _lines(table: PaperTable) -> list[list[str]]:
    """The table's cells, its heads first."""
    lines = [["row", *map(heading, table.metrics), HERE]]
    for row in table.rows:
        cells = [row.cells.get(metric) for metric in table.metrics]
        printed = [printed_text(cell.published) if cell else MISSING for cell in cells]
        lines.append([row.label, *printed, row.waiting or _found(row)])
    return lines


def _found(row: PaperRow) -> str:
    return "; ".join(f"{heading(name)} {here_text(f)}" for name, f in row.cells.items())


def _markdown(tables: Sequence[PaperTable]) -> str:
    blocks = []
    for table in tables:
        heads, *lines = _lines(table)
        rule = ["---", *["---:"] * len(table.metrics), "---"]
        text = ["| " + " | ".join(line) + " |" for line in (heads, rule, *lines)]
        blocks += [f"**{table.paper_title}: {table.title}**", "\n".join(text), f"{table.summary}."]
    return "\n\n".join([*blocks, LEGEND])


def _latex(tables: Sequence[PaperTable]) -> str:
    blocks = [r"% \usepackage{booktabs}"]
    for table in tables:
        heads, *lines = (" & ".join(map(latex_text, line)) + r" \\" for line in _lines(table))
        spec = "l" + "r" * len(table.metrics) + "l"
        blocks += [
            rf"\textbf{{{latex_text(f'{table.paper_title}: {table.title}')}}}\par",
            rf"\begin{{tabular}}{{{spec}}}",
            *(r"\toprule", heads, r"\midrule", *lines, r"\bottomrule", r"\end{tabular}\par"),
            rf"{{\footnotesize {latex_text(table.summary)}.}}\par\medskip",
        ]
    return "\n".join([*blocks, rf"{{\footnotesize {latex_text(LEGEND)}}}"])


def _html(tables: Sequence[PaperTable]) -> str:
    blocks = []
    for table in tables:
        heads, *lines = _lines(table)
        head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
        body = "\n".join(
            f'<tr><th scope="row">{escape(line[0])}</th>'
            + "".join(f"<td>{escape(text)}</td>" for text in line[1:])
            + "</tr>"
            for line in lines
        )
        blocks.append(
            f"<table>\n<caption>{escape(f'{table.paper_title}: {table.title}')}</caption>\n"
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
            f"<p><small>{escape(table.summary)}.</small></p>"
        )
    return "\n".join([*blocks, f"<p><small>{escape(LEGEND)}</small></p>"])


def _csv(tables: Sequence[PaperTable]) -> str:
    rows = records(tables)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().rstrip("\n")


def _json(tables: Sequence[PaperTable]) -> str:
    return json.dumps(records(tables), indent=1, ensure_ascii=False)


_RENDERERS: dict[str, Callable[[Sequence[PaperTable]], str]] = {
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
    "html": _html,
}
