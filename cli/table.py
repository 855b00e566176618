"""bench table"""

from __future__ import annotations

from pathlib import Path

import click

from cli import options
from cli.output import console
from harness.reports.tables import SORTS


@click.command("table", epilog="Example:  bench table --dataset cifar10 --sort top1")
@click.option("--paper", help="Only this paper.")
@click.option("--method", help="Only this method.")
@click.option("--model", help="Only this model.")
@click.option("--dataset", help="Only this data set.")
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default="entry",
    show_default=True,
    help="By name, data set, best top-1, most zeros, fewest MACs, or newest.",
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["rich", "markdown", "csv", "json"]),
    default="rich",
    show_default=True,
    help="How to print it; csv and json carry unrounded numbers.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Markdown file whose table between the results markers is replaced.",
)
@options.as_json
def command(
    paper: str | None,
    method: str | None,
    model: str | None,
    dataset: str | None,
    sort: str,
    style: str,
    into: Path | None,
    as_json: bool,
) -> None:
    """The leaderboard, from stored results only.

    The newest result per entry and way of measuring; a full evaluation beats a newer smoke run.
    """
    from harness.reports.tables import leaderboard, render, rich_table
    from harness.results import latest, load_all

    rows = leaderboard(
        latest(load_all()).values(),
        paper=paper,
        method=method,
        model=model,
        dataset=dataset,
        sort=sort,
    )
    if not rows:
        click.echo("No results match. Measure some: bench reproduce --suite quickstart", err=True)
    if into is not None:
        from harness.reports.readme import update

        click.echo(f"{into}: {'table replaced' if update(into, rows) else 'unchanged'}")
    elif as_json or style != "rich":
        click.echo(render(rows, "json" if as_json else style))
    elif rows:
        screen = console()
        screen.print(rich_table(rows, screen.width))
