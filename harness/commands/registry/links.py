"""bench registry links"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import name_options
from harness.commands import shared_options as options
from harness.commands.exit_codes import CANNOT_CHECK
from harness.commands.number_types import WholeNumber
from harness.commands.output import plain_table, print_json, print_rich, progress
from harness.commands.visible_text import say

if TYPE_CHECKING:
    from rich.table import Table

    from harness.registry import Registry
    from harness.results import Link


@click.command("links", epilog="Example:  bench registry links --paper acdc")
@name_options.named("--paper", help="Only the links of one paper and its entries.")
@click.option("--timeout", type=WholeNumber(1), default=20, show_default=True, help="Seconds.")
@options.extra_registries
@options.as_json
def command(paper: str | None, timeout: int, registries: tuple[Path, ...], as_json: bool) -> None:
    """Ask every published address whether it still has what it should.

    Pages are asked for their head, files for their first bytes; a login page in a file's place is
    a dead link. The answers are kept in reports/links.json, where the site and `bench check`
    read them. Exit code: 0 fine, 4 a link is dead or the host did not answer.
    """
    from harness.checkpoints import addresses
    from harness.maintenance import RateLimits, probe_links
    from harness.results import entries_with, save_links

    registry = options.load_registry(registries)
    wanted = addresses(registry if paper is None else _only(registry, paper))
    with progress() as bars:
        found = probe_links(wanted, RateLimits(read_timeout_s=timeout), bars)
    save_links(found)
    if as_json:
        from dataclasses import asdict

        print_json({address: asdict(link) for address, link in found.items()})
    else:
        print_rich(_table(found, entries_with(registry, found)))
        say(_summary(found))
    raise SystemExit(0 if all(link.ok for link in found.values()) else CANNOT_CHECK)


def _only(registry: Registry, paper: str) -> Registry:
    from dataclasses import replace

    options.require_papers([paper], registry)
    entries = {id: entry for id, entry in registry.entries.items() if entry.paper == paper}
    return replace(registry, papers={paper: registry.papers[paper]}, entries=entries)


def _table(found: dict[str, Link], entries: dict[str, list[str]]) -> Table:
    """Everything that is not alive; what is, is only counted."""
    rows = [
        ("unknown" if link.ok is None else "dead", at, link.detail, ", ".join(entries.get(at, ())))
        for at, link in found.items()
        if not link.ok
    ]
    return plain_table(("state", "address", "answer", "entries"), rows, whole=("state",))


def _summary(found: dict[str, Link]) -> str:
    dead = sum(link.ok is False for link in found.values())
    unknown = sum(link.ok is None for link in found.values())
    alive = len(found) - dead - unknown
    return f"{len(found)} links: {alive} alive, {dead} dead, {unknown} could not be checked"
