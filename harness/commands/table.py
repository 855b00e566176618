"""bench table"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import paths
from harness.commands import shared_options as options
from harness.commands.output import console
from harness.commands.row_options import RowChoice, row_options, several
from harness.commands.visible_text import say
from harness.reports import STYLES

if TYPE_CHECKING:
    from harness.registry import Registry
    from harness.reports import Column, Row

_ENDINGS = {
    ".md": "markdown",
    ".tex": "latex",
    ".csv": "csv",
    ".json": "json",
    ".html": "html",
}


@click.command(
    "table",
    epilog="Example:  bench table --dataset cifar10 --min top1=85 --max macs=20M --sort size",
)
@row_options
@several(
    "columns",
    "Only these columns, in this order, or a preset: accuracy, cost, claims. An unknown name lists "
    "them all.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(STYLES),
    default="rich",
    show_default=True,
    help="How to print it; csv and json carry unrounded numbers.",
)
@click.option(
    "--out",
    "--into",
    "out",
    type=options.FILE,
    help="File to write, its ending the format: .md, .tex, .csv, .json, .html. Of a Markdown file "
    "that is there, the table between the results markers is replaced.",
)
@options.as_json
def command(
    choice: RowChoice,
    columns: tuple[str, ...],
    style: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """The leaderboard, from stored results only.

    The newest result per entry and way of measuring; a full evaluation beats a newer smoke run.
    By name, baselines stand below the rows they belong to. Filters take several values: --method
    acdc,gmp. A paper alone prints the paper's own tables, every printed figure and what became of
    it: bench table --paper acdc
    """
    registry = choice.registry()
    style = "json" if as_json else style
    if choice.only_papers and not columns and out is None:
        _print_papers(choice.paper, registry, style)
        return
    shown = _columns(columns)
    page = out is not None and out.suffix == ".md" and out.exists()
    # A page of the project shows what is on its record, not what else was measured here.
    folder = paths.layers("results")[0] if page else None
    rows = choice.rows(registry, folder, "dataset" if page else "entry")
    if out is None:
        _print(rows, style, shown or _with_figures(rows, choice.figures, style))
        return
    if page:
        from harness.reports import update_readme

        say(f"{out}: {'table replaced' if update_readme(out, rows, shown) else 'unchanged'}")
        return
    _write(rows, _style_of(out, style), shown, choice, out)


def _style_of(out: Path, style: str) -> str:
    """The style asked for, else that of the file's ending."""
    found = style if style != "rich" else _ENDINGS.get(out.suffix.lower())
    if found is None:
        known = ", ".join(_ENDINGS)
        raise click.UsageError(f"{out.name}: name it {known}, or say how: --format")
    return found


def _write(
    rows: Sequence[Row],
    style: str,
    columns: tuple[Column, ...] | None,
    choice: RowChoice,
    out: Path,
) -> None:
    from harness.reports import render_leaderboard
    from harness.system import replace_text

    columns = columns or _with_figures(rows, choice.figures, style)
    replace_text(out, render_leaderboard(rows, style, columns) + "\n")
    say(f"{out}: {len(rows)} rows")


def _print_papers(papers: Sequence[str], registry: Registry, style: str) -> None:
    from harness.reports import how_to_check, paper_screen, paper_tables, published_figures
    from harness.reports import render_paper as render

    options.require_papers(papers, registry)
    entries = [entry for paper in papers for entry in registry.select(paper=paper)]
    figures = published_figures(registry, entries)
    tables = [table for paper in papers for table in paper_tables(paper, registry, figures)]
    if style != "rich":
        say(render(tables, style))
        return
    terminal = console()
    terminal.print(paper_screen(tables, terminal.width), crop=False, soft_wrap=True)
    commands = [line for paper in papers for line in how_to_check(paper, registry)]
    say("From nothing:\n  " + "\n  ".join(dict.fromkeys(commands)), err=True)


def _print(rows: Sequence[Row], style: str, columns: tuple[Column, ...] | None) -> None:
    if style != "rich":
        from harness.reports import render_leaderboard

        say(render_leaderboard(rows, style, columns))
    elif rows:
        from harness.reports import leaderboard_screen

        terminal = console()
        terminal.print(
            leaderboard_screen(rows, terminal.width, columns), end="", crop=False
        )  # fits already


def _columns(names: tuple[str, ...]) -> tuple[Column, ...] | None:
    if not names:
        return None
    from harness.reports import BY_KEY, PRESETS, chosen_columns

    for name in names:
        if name not in BY_KEY and name not in PRESETS:
            known = f"{', '.join(BY_KEY)}; presets: {', '.join(PRESETS)}"
            raise click.UsageError(f"no column is called {name!r}; columns: {known}")
    return chosen_columns(names)


def _with_figures(
    rows: Sequence[Row], figures: tuple[str, ...], style: str
) -> tuple[Column, ...] | None:
    """The usual columns and those of `figures`; None where there is nothing to add."""
    if style in ("csv", "json"):  # which carry all fields
        return None
    from harness.reports import BY_KEY, shown_columns

    usual = shown_columns(rows)
    added = [BY_KEY[name] for name in figures if name in BY_KEY and BY_KEY[name] not in usual]
    return (*usual[:-1], *added, usual[-1]) if added else None
