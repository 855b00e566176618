"""bench registry lock"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.exit_codes import CANNOT_CHECK
from harness.commands.output import plain_table, print_json, print_rich
from harness.commands.visible_text import say

if TYPE_CHECKING:
    from rich.table import Table

    from harness.maintenance import PinState


@click.command("lock", epilog="Example:  bench registry lock acdc-resnet50-90")
@click.argument("entry_ids", metavar="[ID]...", nargs=-1, shell_complete=options.complete_ids)
@options.extra_registries
@options.as_json
def command(entry_ids: tuple[str, ...], registries: tuple[Path, ...], as_json: bool) -> None:
    """Pin the hash of every downloaded checkpoint.

    Entries whose hash the registry states are held to it; the others are pinned in registry.lock,
    from the record that lies beside the stored file. Stored files are read again: one that changed
    since is named. Without an ID: all entries. Exit code: 0 fine, 4 a file or a pin does not hold.
    """
    from harness.maintenance import pin_checkpoints

    registry = options.load_registry(registries)
    chosen = [registry.get(name) for name in entry_ids] or list(registry.entries.values())
    rows = pin_checkpoints(chosen)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        shown = rows if entry_ids else [row for row in rows if row.state != "not here"]
        print_rich(_table(shown))
        say(_summary(rows))
    raise SystemExit(0 if all(row.ok for row in rows) else CANNOT_CHECK)


def _table(rows: list[PinState]) -> Table:
    lines = [(row.id, row.state, (row.sha256 or "")[:16], row.detail) for row in rows]
    heads = ("entry", "state", "sha256", "detail")
    return plain_table(heads, lines, whole=heads[:3])


def _summary(rows: list[PinState]) -> str:
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    counted = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{len(rows)} checkpoints: {counted}" if rows else "no checkpoint is published there"
