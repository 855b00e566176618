"""bench claims"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.output import print_json, print_rich, styled

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from harness.reports import Claims, LinkCount


@click.command("claims", epilog="Example:  bench claims --json")
@options.extra_registries
@options.as_json
def command(registries: tuple[Path, ...], as_json: bool) -> None:
    """How many published rows hold, and how many links.

    From stored results and link checks only.

    Rows that were reproduced, contradicted or cannot be checked, and why; links that still answer.
    """
    from harness.reports import count_claims, stored_rows
    from harness.results import load_links

    registry = options.load_registry(registries)
    found = count_claims(registry, stored_rows(), load_links())
    if as_json:
        print_json(
            {
                "rows": len(found.rows),
                "own": found.own,
                "counts": found.counts(),
                "reasons": found.reasons(),
                "papers": {paper: found.counts(paper) for paper in registry.papers},
                "pages": asdict(found.pages),
                "files": asdict(found.files),
                "entries": [asdict(claim) for claim in found.rows],
            }
        )
        return
    print_rich(_told(found))


def _told(found: Claims) -> Group:
    from rich.console import Group
    from rich.text import Text

    counted = ", ".join(f"{count} {outcome}" for outcome, count in found.counts().items())
    return Group(
        Text.assemble((f"{len(found.rows)} published rows: ", "bold"), counted),
        Text(f"not among them: {found.own} networks of this project itself", "dim"),
        Text(),
        _contradicted(found),
        Text(),
        _unchecked(found),
        Text(),
        Text(f"links to files: {links_told(found.files)}"),
        Text(f"links to pages: {links_told(found.pages)}"),
    )


def _contradicted(found: Claims) -> Table:
    from rich.table import Table

    from harness.reports import CONTRADICTED

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("contradicted", overflow="fold")
    table.add_column("verdict", overflow="fold")
    table.add_column("why", overflow="fold")
    for claim in found.rows:
        if claim.outcome == CONTRADICTED:
            table.add_row(claim.entry, styled(claim.status or ""), claim.why)
    return table


def _unchecked(found: Claims) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rows", justify="right")
    table.add_column("cannot be checked because", overflow="fold")
    for why, count in found.reasons().items():
        table.add_row(str(count), why)
    return table


def links_told(count: LinkCount) -> str:
    """One line: alive of total, or that nobody ever asked."""
    if count.never_probed == count.total:
        return f"{count.total}, never probed. Ask them: bench registry links"
    parts = [f"{count.alive} of {count.total} alive", f"{count.dead} dead"]
    parts += [f"{count.unclear} unclear"] if count.unclear else []
    parts += [f"{count.never_probed} never probed"] if count.never_probed else []
    return f"{', '.join(parts)} (last asked {count.last_checked})"
