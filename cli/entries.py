"""bench list"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import options
from cli.output import MISSING, print_json, print_rich, styled

if TYPE_CHECKING:
    from harness.registry import Entry


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
    """Entries of the registry, with checkpoint status and last verdict.

    WORDS keep the entries whose id contains every one of them.
    """
    from harness.checkpoints import status
    from harness.results import last_verdicts

    registry = options.load_registry(registries)
    chosen = registry.select(paper=paper, method=method, model=model, dataset=dataset)
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


def _print_table(rows: list[tuple[Entry, str]], verdicts: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("id", no_wrap=True)
    table.add_column("top-1 %", justify="right", no_wrap=True)
    table.add_column("sparse %", justify="right", no_wrap=True)
    table.add_column("file", no_wrap=True)
    table.add_column("last verdict", overflow="fold")
    for entry, state in rows:
        last = verdicts.get(entry.id)
        table.add_row(
            entry.id,
            _cell(entry, "top1_pct"),
            _cell(entry, "sparsity_pct"),
            state,
            styled(last) if last else MISSING,
        )
    print_rich(table)
    click.echo(f"{len(rows)} entries. Details: bench show ID", err=True)


def _cell(entry: Entry, metric: str) -> str:
    value = entry.published.get(metric)
    if value is None:
        return MISSING
    return f"{value.text}?" if value.suspect else value.text
