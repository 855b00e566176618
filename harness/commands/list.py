"""bench list"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.commands import name_options
from harness.commands import shared_options as options
from harness.commands.name_lists import KINDS
from harness.commands.output import columns, print_json
from harness.commands.visible_text import say_line, say_painted
from harness.reports import MISSING, folded, status_style

if TYPE_CHECKING:
    from harness.registry import Entry, Registry

Line = list[tuple[str, str]]  # pieces of text with their styles
F = TypeVar("F", bound=Callable[..., Any])

NUMBERS = 31  # columns of both numbers and the file status, and the gaps around them
SHORTEST = 20  # columns an id gets on the narrowest terminal


def listing_options(command: F) -> F:
    """--models, --recipes, --evaluations, --datasets, --methods."""
    for kind in reversed(KINDS):
        text = f"List {kind} instead of entries: every name that --{kind.removesuffix('s')} takes."
        command = click.option(f"--{kind}", "kind", flag_value=kind, help=text)(command)
    return command


@click.command("list", epilog="Example:  bench list --dataset cifar10 --paper akamaster")
@click.argument("words", nargs=-1)
@name_options.named("--paper", help="Only this paper.")
@name_options.named("--method", help="Only this method.")
@name_options.named("--model", help="Only this model.")
@name_options.named("--dataset", help="Only this data set.")
@listing_options
@click.option("--available", is_flag=True, help="Only entries whose checkpoint can be had.")
@options.extra_registries
@options.as_json
def command(
    words: tuple[str, ...],
    paper: str | None,
    method: str | None,
    model: str | None,
    dataset: str | None,
    kind: str | None,
    available: bool,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Entries of the registry, with file status and last verdict.

    WORDS keep the entries, or names, that contain every one of them. With --paper: what became of
    each row's printed figures, as in bench table --paper.
    """
    registry = options.load_registry(registries)
    if kind is not None:
        _print_names(kind, registry, words, as_json)
        return
    from harness.checkpoints import statuses
    from harness.results import current

    _refuse_own(dataset)
    wanted = {"paper": paper, "method": method, "model": model, "dataset": dataset}
    options.require_known(wanted, registry.entries.values())
    chosen = registry.select(**wanted)
    entries = [e for e in chosen if all(word in e.id for word in words)]
    states = statuses(entries)
    rows = [(entry, states[entry.id]) for entry in entries]
    if available:
        rows = [(entry, state) for entry, state in rows if state != "none"]
    verdicts = current.verdicts(registry.aliases)
    if as_json:
        print_json([_document(entry, state, verdicts.get(entry.id)) for entry, state in rows])
        return
    if paper is not None:
        from harness.reports import published_figures, row_summary

        figures = published_figures(registry, entries)
        verdicts = {id: row_summary(mine) for id, mine in figures.items() if mine}
    _print_table(rows, verdicts)


def _refuse_own(dataset: str | None) -> None:
    """Nobody publishes rows on a data set of one's own: its results are in the table."""
    from harness.registry import every_own

    if dataset is not None and (dataset.startswith("folder:") or dataset in every_own()):
        raise click.UsageError(
            f"the registry has no entries on your own {dataset}; results: bench table --dataset "
            f"{dataset}"
        )


def _print_names(kind: str, registry: Registry, words: Sequence[str], as_json: bool) -> None:
    """One name a line, and what it stands for."""
    rows = [(n, about) for n, about in KINDS[kind](registry) if all(word in n for word in words)]
    if as_json:
        print_json([{"name": name, "about": about} for name, about in rows])
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, about in rows:
        say_line(f"{name:{width}}  {about}".rstrip())
    if not rows:
        say_line(f"No name matches. All of them: bench list --{kind}", err=True)


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
    if not rows:
        say_line("No entry matches. All of them: bench list", err=True)
        return
    from harness.results import STATUSES

    head = "last verdict" if any(v in STATUSES for v in verdicts.values()) else "figures"
    lines = [("id", _numbers("top-1 %", "sparse %", "file"), head, "bold")]
    for entry, state in rows:
        numbers = _numbers(_cell(entry, "top1_pct"), _cell(entry, "sparsity_pct"), state)
        status = verdicts.get(entry.id)
        lines.append(
            (
                entry.id,
                numbers,
                status or MISSING,
                status_style(status) if status in STATUSES else "",
            )
        )
    say_painted(_laid_out(lines, columns()))
    say_line(
        f"{_entries(len(rows))}, published numbers (? = doubtful). file: stored = here and "
        "verified, by hand = given with --from, shipped and local = found, link = on the net, "
        "none. Details: bench show ID",
        err=True,
    )


def _laid_out(rows: Sequence[tuple[str, str, str, str]], width: int) -> Iterator[Line]:
    """Lines of (id, numbers, verdict, style of the verdict); ids and verdicts fold to `width`."""
    room = width - NUMBERS
    longest = max(len(verdict) for _, _, verdict, _ in rows)
    ids = [folded(id_, max(room - longest, SHORTEST)).split("\n") for id_, *_ in rows]
    left = max(len(part) for parts in ids for part in parts)
    for parts, (_, numbers, verdict, style) in zip(ids, rows, strict=True):
        for part, words in zip_longest(parts, wrap(verdict, max(room - left, 1)), fillvalue=""):
            yield [(f"{part:{left}}{numbers}" if words else part, ""), (words, style)]
            numbers = " " * NUMBERS


def _numbers(top1: str, sparsity: str, state: str) -> str:
    """The middle of a line, NUMBERS characters."""
    return f"  {top1:>8}  {sparsity:>8}  {state:7}  "


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _cell(entry: Entry, metric: str) -> str:
    value = entry.published.get(metric)
    if value is None:
        return MISSING
    return f"{value.text}?" if value.suspect else value.text
