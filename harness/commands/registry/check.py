"""bench registry check"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.commands import shared_options as options
from harness.commands.output import print_json


@click.command("check", epilog="Example:  bench registry check --full")
@click.option("--full", is_flag=True, help="Also rebuild every model and recompute its counts.")
@options.extra_registries
@options.as_json
def command(full: bool, registries: tuple[Path, ...], as_json: bool) -> None:
    """Schema, references, ids, values.

    With --full also that every model can be built, its parameters, and that every layer pattern
    matches a layer.
    """
    registry = options.load_registry(registries)
    facts: dict[str, Any] = {
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
        from dataclasses import asdict

        from harness.maintenance import recompute_models

        facts["models"] = [asdict(model) for model in recompute_models(registry)]
    if as_json:
        print_json(facts)
        return
    models = facts.pop("models", [])
    for name, value in facts.items():
        click.echo(f"{name:<14} {value}")
    for model in models:
        click.echo(
            f"{model['model']:<28} {model['dataset']:<16} "
            f"{model['params']:>12,} parameters {model['weights']:>12,} weights"
        )
    click.echo("registry is valid")
