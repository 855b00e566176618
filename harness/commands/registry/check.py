"""bench registry check"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands import shared_options as options
from harness.commands.output import plain_table, print_json, print_rich, progress, styled
from harness.commands.visible_text import say

if TYPE_CHECKING:
    from rich.table import Table

    from harness.registry import Registry
    from harness.reports import DerivedFigure


@click.command("check", epilog="Example:  bench registry check --full --entry str-resnet50-81")
@click.option("--full", is_flag=True, help="Also build every network and derive printed figures.")
@click.option(
    "--entry",
    "entry_ids",
    multiple=True,
    metavar="ID",
    shell_complete=options.complete_ids,
    help="With --full: only the networks and figures of this entry (repeatable).",
)
@click.option(
    "--record",
    is_flag=True,
    help="With --full: keep what was derived in reports/derived.json, for claims, tables and site, "
    "and write reports/errata.md.",
)
@options.data_root
@options.extra_registries
@options.as_json
def command(
    full: bool,
    entry_ids: tuple[str, ...],
    record: bool,
    data_root: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Schema, references, ids, values; networks, methods and their settings by name.

    With --full also that every network can be built and every layer pattern matches a layer; and
    every printed figure that needs no weights is derived: from the architecture, from densities,
    from the STR authors' budget files below the data root, and from the figures printed beside it.
    """
    registry = options.load_registry(registries)
    if (entry_ids or record) and not full:
        raise click.UsageError("--entry and --record go with --full")
    if entry_ids and record:
        raise click.UsageError("--record keeps what was derived of all entries; leave --entry out")
    chosen = [registry.get(name) for name in entry_ids] or None
    from harness.maintenance import require_known_names

    require_known_names(registry)
    facts = _facts(registry)
    derived: list[DerivedFigure] = []
    if full:
        from harness.maintenance import derive, recompute_models, record_derived

        with progress() as bars:
            facts["models"] = recompute_models(registry, chosen)
            derived = derive(registry, chosen, data_root, bars)
        if record:
            record_derived(registry, derived)
        facts["derived"] = derived
    if as_json:
        print_json(facts)
        return
    _print(facts, derived)


def _facts(registry: Registry) -> dict[str, Any]:
    return {
        "papers": len(registry.papers),
        "entries": len(registry.entries),
        "recipes": len(registry.recipes),
        "evaluations": len(registry.evaluations),
        "suites": {name: len(list(registry.suite(name))) for name in registry.suites},
        "suspect_cells": sum(
            value.suspect for e in registry.entries.values() for value in e.published.values()
        ),
    }


def _print(facts: dict[str, Any], derived: list[DerivedFigure]) -> None:
    models = facts.pop("models", [])
    facts.pop("derived", None)
    for name, value in facts.items():
        say(f"{name:<14} {value}")
    for model in models:
        say(
            f"{model.model:<28} {model.dataset:<16} "
            f"{model.params:>12,} parameters {model.weights:>12,} weights"
        )
    if derived:
        print_rich(_table(derived))
    say("registry is valid")


def _table(derived: list[DerivedFigure]) -> Table:
    found = ((item.entry, item.figure, item.comparison) for item in derived)
    rows = [(entry, name, c.published, styled(c.status), c.reason) for entry, name, c in found]
    return plain_table(("entry", "figure", "printed", "status", "why"), rows, right=("printed",))
