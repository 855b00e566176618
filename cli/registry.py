"""bench registry check"""

from __future__ import annotations

from pathlib import Path

import click

from cli import options
from cli.output import print_json


@click.group("registry")
def command() -> None:
    """Look after the registry itself."""


@command.command("check", epilog="Example:  bench registry check --registry mine.yaml --full")
@click.option("--full", is_flag=True, help="Also rebuild every model and recompute its counts.")
@options.extra_registries
@options.as_json
def check(full: bool, registries: tuple[Path, ...], as_json: bool) -> None:
    """Schema, references, ids; with --full also that every model can be built and measured."""
    registry = options.load_registry(registries)
    facts: dict[str, object] = {
        "papers": len(registry.papers),
        "entries": len(registry.entries),
        "recipes": len(registry.recipes),
        "evaluations": len(registry.evaluations),
        "suites": {name: len(list(registry.suite(name))) for name in registry.suites},
        "suspect_cells": sum(
            value.suspect for e in registry.entries.values() for value in e.published.values()
        ),
    }
    if full:
        from harness.registry_check import recompute

        facts["models"] = recompute(registry)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        click.echo(f"{name:<14} {value}")
    click.echo("registry is valid")
