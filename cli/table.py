"""bench table"""

from __future__ import annotations

import click

from cli.output import console


@click.command("table", epilog="Example:  bench table --dataset cifar10 --sort top1")
@click.option("--paper", help="Only this paper.")
@click.option("--method", help="Only this method.")
@click.option("--model", help="Only this model.")
@click.option("--dataset", help="Only this data set.")
@click.option(
    "--sort",
    type=click.Choice(["entry", "top1", "sparsity", "macs", "date"]),
    default="entry",
    show_default=True,
)
@click.option(
    "--format",
    "style",
    type=click.Choice(["rich", "markdown", "csv", "json"]),
    default="rich",
    show_default=True,
)
def command(
    paper: str | None,
    method: str | None,
    model: str | None,
    dataset: str | None,
    sort: str,
    style: str,
) -> None:
    """The leaderboard, from stored results only: newest result per entry and mode."""
    from harness.reports.tables import leaderboard, render
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
    if style == "rich":
        from harness.reports.tables import rich_table

        screen = console()
        screen.print(rich_table(rows, screen.width))
        return
    click.echo(render(rows, style))
