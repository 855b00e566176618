"""bench list"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.output import console, print_json, styled
from harness.reports.columns import MISSING, folded

if TYPE_CHECKING:
    from harness.registry import Entry

NUMBERS = 33  # columns of both numbers and the file status, and the gaps around them


@click.command("list", epilog="Example:  bench list --dataset cifar10 --paper akamaster")
@click.argument("words", nargs=-1)
@click.option("--paper", help="Only this paper.")
@click.option("--method", help="Only this method.")
@click.option("--model", help="Only this model.")
@click.option("--dataset", help="Only this data set.")
@click.option("--available", is_flag=True, help="Only entries whose checkpoint can be had.")
@options.extra_registries
@options.as_json
def command(
    words: tuple[str, ...],
    paper: str | None,
    method: str | None,
    model: str | None,
    dataset: str | None,
    available: bool,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Entries of the registry, with file status and last verdict.

    WORDS keep the entries whose id contains every one of them.
    """
    from harness.checkpoints import status
    from harness.results import last_verdicts

    registry = options.load_registry(registries)
    wanted = {"paper": paper, "method": method, "model": model, "dataset": dataset}
    options.require_known(wanted, registry.entries.values())
    chosen = registry.select(**wanted)
    entries = [e for e in chosen if all(word in e.id for word in words)]
    rows = [(entry, status(entry)) for entry in entries]
    if available:
        rows = [(entry, state) for entry, state in rows if state != "none"]
    verdicts = last_verdicts()
    if as_json:
        print_json([_document(entry, state, verdicts.get(entry.id)) for entry, state in rows])
        return
    _print_table(rows, verdicts)


def _document(entry: Entry, state: str, verdict: str | None) -> dict[str, Any]:
    return {
        "id": entry.id,
        "paper": entry.paper,
        "method": entry.method,
        "model": entry.model,
        "dataset": entry.dataset,
        "granularity": entry.granularity,
        "recipe": entry.recipe,
        "baseline": entry.baseline,
        "published": {
            name: {
                "text": value.text,
                "value": value.value,
                "source": value.source,
                "suspect": value.suspect,
                "note": value.note,
            }
            for name, value in entry.published.items()
        },
        "checkpoint": {
            "status": state,
            "sources": list(entry.checkpoint.sources) if entry.checkpoint else [],
            "license": entry.checkpoint.license if entry.checkpoint else None,
        },
        "last_verdict": verdict,
    }


def _print_table(rows: Sequence[tuple[Entry, str]], verdicts: dict[str, str]) -> None:
    from rich.table import Table

    if not rows:
        click.echo("No entry matches. All of them: bench list", err=True)
        return
    screen = console()
    verdict = "last verdict"
    statuses = [verdicts.get(entry.id, MISSING) for entry, _ in rows]
    room = screen.width - max(len(text) for text in (*statuses, verdict)) - NUMBERS
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("id", no_wrap=True)
    for head in ("top-1 %", "sparse %"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("file", no_wrap=True)
    table.add_column(verdict, overflow="fold")
    for (entry, state), status in zip(rows, statuses, strict=True):
        top1, sparsity = _cell(entry, "top1_pct"), _cell(entry, "sparsity_pct")
        table.add_row(folded(entry.id, max(room, 20)), top1, sparsity, state, styled(status))
    screen.print(table)
    click.echo(
        f"{_entries(len(rows))}, published numbers (? = doubtful). file: stored = here and "
        "verified, shipped and local = found, link = on the net, none. Details: bench show ID",
        err=True,
    )


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _cell(entry: Entry, metric: str) -> str:
    value = entry.published.get(metric)
    if value is None:
        return MISSING
    return f"{value.text}?" if value.suspect else value.text
