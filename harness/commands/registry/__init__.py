"""bench registry: one file per verb."""

from __future__ import annotations

import click

from harness.commands.registry import add, check, links, lock


@click.group("registry")
def command() -> None:
    """Look after the registry itself."""


for _verb in (check, add, lock, links):
    command.add_command(_verb.command)
