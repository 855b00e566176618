"""bench record"""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import shared_options as options
from harness.commands.output import print_json
from harness.commands.visible_text import say_line


@click.command("record", epilog="Example:  bench record dense-resnet20-cifar10")
@click.argument("name", metavar="ID", shell_complete=options.complete_ids)
@options.extra_registries
@options.as_json
def command(name: str, registries: tuple[Path, ...], as_json: bool) -> None:
    """Put a result measured here on the project's record, to be committed.

    ID is an entry, whose result that counts is meant, or the id of one result or timing. The files
    move from the home folder into reports/ of the clone; a decision of bench check --accept about
    them goes along.
    """
    from harness.maintenance import put_on_record

    recorded = put_on_record(name, options.load_registry(registries).aliases)
    if as_json:
        print_json({"files": [str(file) for file in recorded.files]})
        return
    for file in recorded.files:
        say_line(str(file))
    if recorded.decision is not None:
        say_line(f"accepted: {recorded.decision.reason}")
