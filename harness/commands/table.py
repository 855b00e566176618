"""bench table"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness import paths
from harness.commands import shared_options as options
from harness.commands.dataset_options import named
from harness.commands.number_types import WholeNumber
from harness.commands.output import console
from harness.commands.visible_text import say
from harness.reports import SORTS, STYLES

if TYPE_CHECKING:
    from harness.registry import Registry
    from harness.reports import Column, Row, Wanted

F = TypeVar("F", bound=Callable[..., Any])


def _words(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """The values of a repeatable option; each may hold several, separated by commas."""
    return tuple(word.strip() for text in given for word in text.split(",") if word.strip())


def _several(name: str, text: str) -> Callable[[F], F]:
    return click.option(f"--{name}", multiple=True, callback=_words, metavar="A[,B]", help=text)


@click.command(
    "table",
    epilog="Example:  bench table --dataset cifar10 --method acdc,gmp,dense --sort top1",
)
@_several("dataset", "Only these data sets; folder:PATH for pictures of your own.")
@_several("model", "Only these models.")
@_several("method", "Only these methods.")
@_several(
    "paper",
    "The tables of these papers: every printed figure, and what became of it. With another filter, "
    "--sort or --columns: their rows of the leaderboard.",
)
@_several("verdict", "Only these verdicts.")
@click.option(
    "--sort",
    type=click.Choice(tuple(SORTS)),
    help="By name, data set, best top-1, furthest from published, most zeros, fewest MACs, newest, "
    "worst verdict.  [default: entry; with --into: dataset]",
)
@click.option(
    "--published", is_flag=True, help="Also the published rows that nobody has measured yet."
)
@click.option("--limit", type=WholeNumber(1), help="At most N rows, and their baselines.")
@_several("columns", "Only these columns, in this order; an unknown name lists them all.")
@click.option(
    "--format",
    "style",
    type=click.Choice(STYLES),
    default="rich",
    show_default=True,
    help="How to print it; csv and json carry unrounded numbers.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Markdown file whose table between the results markers is replaced.",
)
@options.extra_registries
@options.as_json
def command(
    dataset: tuple[str, ...],
    model: tuple[str, ...],
    method: tuple[str, ...],
    paper: tuple[str, ...],
    verdict: tuple[str, ...],
    sort: str | None,
    published: bool,
    limit: int | None,
    columns: tuple[str, ...],
    style: str,
    into: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """The leaderboard, from stored results only.

    The newest result per entry and way of measuring; a full evaluation beats a newer smoke run.
    By name, baselines stand below the rows they belong to. Filters take several values: --method
    acdc,gmp. A paper alone prints the paper's own tables: bench table --paper acdc
    """
    from harness.reports import Wanted, leaderboard, stored_rows, with_unmeasured

    others = (dataset, model, method, verdict, sort, published, limit, columns, into)
    if paper and not any(others):
        _print_papers(paper, options.load_registry(registries), "json" if as_json else style)
        return
    shown = _columns(columns)
    dataset = tuple(map(named, dataset))
    wanted = Wanted(dataset, model, method, paper, verdict)
    registry = options.load_registry(registries)
    # A page of the project shows what is on its record, not what else was measured here.
    stored = stored_rows(None if into is None else paths.layers("results")[0])
    if published:
        stored = with_unmeasured(stored, registry)
    _require_known(wanted, stored, registry)
    order = sort or ("entry" if into is None else "dataset")
    rows = leaderboard(stored, registry, wanted, sort=order, limit=limit)
    if not rows:
        say(_nothing(stored, registry, wanted, published), err=True)
    if into is not None:
        from harness.reports import update_readme

        say(f"{into}: {'table replaced' if update_readme(into, rows, shown) else 'unchanged'}")
        return
    _print(rows, "json" if as_json else style, shown)


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


def _nothing(stored: Sequence[Row], registry: Registry, wanted: Wanted, published: bool) -> str:
    """Why the table is empty, and what fills it."""
    given = {name: values for name, values in asdict(wanted).items() if values}
    asked = " ".join(f"--{name} {','.join(values)}" for name, values in given.items())
    if not stored:
        return "No result is stored. Measure some: bench reproduce --suite quickstart"
    if len(given) == 1 and "dataset" in given:
        entries = registry.select(dataset=given["dataset"][0])
        if entries:
            known = f"{len(entries)} published rows are known, none measured"
            measure = f"Measure one: bench reproduce {entries[0].id}"
            return f"{asked}: {known}. Show them: bench table {asked} --published. {measure}"
    if published:
        return f"{asked}: none of {len(stored)} rows matches. All of them: bench table --published"
    none = f"none of {len(stored)} stored results matches"
    return f"{asked}: {none}. Also what nobody has measured: bench table {asked} --published"


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
    from harness.reports import BY_KEY, chosen_columns

    for name in names:
        if name not in BY_KEY:
            raise click.UsageError(f"no column is called {name!r}; columns: {', '.join(BY_KEY)}")
    return chosen_columns(names)


def _require_known(wanted: Wanted, stored: Sequence[Row], registry: Registry) -> None:
    """Raises UsageError, with the nearest known values, for a value nobody has."""
    from difflib import get_close_matches

    from harness.results import STATUSES

    for name, values in asdict(wanted).items():
        known = {str(getattr(row, name)) for row in stored}
        if name == "verdict":
            known |= set(STATUSES)
        else:
            known |= {str(getattr(entry, name)) for entry in registry.entries.values()}
        for value in values:
            if value not in known:
                near = get_close_matches(value, known, n=3) or sorted(known)[:12]
                raise click.UsageError(f"--{name} {value!r} is unknown; nearest: {', '.join(near)}")
