"""The leaderboard as text: markdown, LaTeX, csv, json, HTML."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import fields

from harness.reports.table.columns import Column, legend, marks, shown_columns
from harness.reports.table.rows import Row

INDENT = "└ "  # in front of a baseline that stands below the rows it belongs to
STYLES = ("rich", "markdown", "latex", "csv", "json", "html")


def render_leaderboard(
    rows: Sequence[Row], style: str, columns: Sequence[Column] | None = None
) -> str:
    """`rows` in the given style, but for "rich"; csv and json carry unrounded numbers.

    columns: what to show (default: what says something about `rows`; csv and json: all fields).
    """
    return _RENDERERS[style](rows, columns)


def _markdown(rows: Sequence[Row], columns: Sequence[Column] | None) -> str:
    columns = columns or shown_columns(rows)
    numbered = marks(rows)
    lines = [[c.head for c in columns], ["---:" if c.right else "---" for c in columns]]
    for r in rows:
        name = (INDENT if r.is_baseline else "") + r.entry
        mark = f" {numbered[r.note]}" if r.note else ""
        lines.append([name + mark, *(_in_markdown(c.text(r)) for c in columns[1:])])
    table = ["| " + " | ".join(cells) + " |" for cells in lines]
    notes = [f"\n{mark} {note}" for note, mark in numbered.items()]
    return "\n".join([*table, "", legend(columns), *notes])


def _in_markdown(text: str) -> str:
    return text.replace("|", "\\|")


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        "[": "{[}",  # a bracket behind \\ would be read as its argument
        "]": "{]}",
        "–": "--",
        "−": "$-$",
        "±": r"$\pm$",
        "Δ": r"$\Delta$",
        "→": r"$\rightarrow$",
        "·": r"$\cdot$",
        "≤": r"$\leq$",
    }
)


def latex_text(text: str) -> str:
    """`text` so that LaTeX prints it as it is."""
    return text.replace("\n", " ").translate(_LATEX)


def _latex(rows: Sequence[Row], columns: Sequence[Column] | None) -> str:
    """A booktabs tabular, one's own rows bold, its legend and its notes below."""
    columns = columns or shown_columns(rows)
    numbered = marks(rows)
    head = " & ".join(latex_text(c.head) for c in columns) + r" \\"
    needs = "booktabs,xcolor" if any(r.outdated for r in rows) else "booktabs"
    body = []
    for r in rows:
        name = (r"\quad " if r.is_baseline else "") + latex_text(r.entry)
        mark = rf"\textsuperscript{{{numbered[r.note].strip('[]')}}}" if r.note else ""
        cells = [name + mark, *(latex_text(c.text(r)) for c in columns[1:])]
        if r.outdated:
            cells = [rf"\textcolor{{gray}}{{{cell}}}" for cell in cells]
        elif r.own:
            cells = [rf"\textbf{{{cell}}}" for cell in cells]
        body.append(" & ".join(cells) + r" \\")
    notes = [
        rf"\textsuperscript{{{mark.strip('[]')}}}~{latex_text(note)}\par"
        for note, mark in numbered.items()
    ]
    spec = "".join("r" if c.right else "l" for c in columns)
    return "\n".join(
        [
            rf"% \usepackage{{{needs}}}",
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\par\medskip",
            rf"{{\footnotesize {latex_text(legend(columns))}\par",
            *notes,
            "}",
        ]
    )


def _field_names(columns: Sequence[Column] | None) -> list[str]:
    if columns is None:
        return [field.name for field in fields(Row)]
    return list(dict.fromkeys(name for column in columns for name in column.fields))


def _csv(rows: Sequence[Row], columns: Sequence[Column] | None) -> str:
    names = _field_names(columns)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(r, name) for name in names] for r in rows)
    return out.getvalue().rstrip("\n")


def _json(rows: Sequence[Row], columns: Sequence[Column] | None) -> str:
    names = _field_names(columns)
    return json.dumps(
        [{name: getattr(r, name) for name in names} for r in rows], indent=1, ensure_ascii=False
    )


def _html(rows: Sequence[Row], columns: Sequence[Column] | None) -> str:
    """One accessible table to paste into a page: caption, scopes, a class for old protocols."""
    from html import escape

    columns = columns or shown_columns(rows)
    numbered = marks(rows)
    heads = "".join(f'<th scope="col"{_right(c)}>{escape(c.head)}</th>' for c in columns)
    body = []
    for r in rows:
        kinds = [n for n, on in (("outdated", r.outdated), ("baseline", r.is_baseline)) if on]
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        kind += ' style="color:gray"' if r.outdated else ""  # wherever it is pasted
        mark = f" <sup>{numbered[r.note]}</sup>" if r.note else ""
        cells = "".join(f"<td{_right(c)}>{escape(c.text(r))}</td>" for c in columns[1:])
        body.append(f'<tr{kind}><th scope="row">{escape(r.entry)}{mark}</th>{cells}</tr>')
    notes = "".join(
        f"<p><small>{mark} {escape(note)}</small></p>\n" for note, mark in numbered.items()
    )
    lines = "\n".join(body)
    return (
        f"<table>\n<caption>{escape(legend(columns))}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{lines}\n</tbody>\n</table>\n{notes}"
    ).rstrip("\n")


def _right(column: Column) -> str:
    return ' style="text-align:right"' if column.right else ""


_RENDERERS: dict[str, Callable[[Sequence[Row], Sequence[Column] | None], str]] = {
    "markdown": _markdown,
    "latex": _latex,
    "csv": _csv,
    "json": _json,
    "html": _html,
}
