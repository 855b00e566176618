"""bench show"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.output import plain_table, print_json, print_labelled, print_rich, styled
from harness.commands.visible_text import say_line
from harness.reports import MISSING

if TYPE_CHECKING:
    from rich.table import Table

    from harness.registry import Entry, Registry
    from harness.results import FigureStatus, LatencyRecord, Result, TimingPlace


@click.command("show", epilog="Example:  bench show str-resnet50-81")
@click.argument("entry_id", metavar="ID", shell_complete=options.complete_ids)
@options.extra_registries
@options.as_json
def command(entry_id: str, registries: tuple[Path, ...], as_json: bool) -> None:
    """Everything about one entry.

    Paper, links, protocol, published numbers and where they are printed, and every result so far.
    Of a run of one's own, by its name in bench table: what came of it. How a target would be shared
    among the layers: bench allocation ID --target 0.9
    """
    from rich.text import Text

    registry = options.load_registry(registries)
    if entry_id not in registry.entries and (own := _stored(entry_id)):
        _show_own(own, as_json)
        return
    entry = registry.get(entry_id)
    if as_json:
        print_json(_document(entry, registry))
        return
    print_rich(Text(entry.id, style="bold italic"))
    print_labelled([(Text(label, style="bold"), text) for label, text in _facts(entry, registry)])
    if entry.published:
        print_rich(_published(entry, registry))
    _print_history(entry)
    _print_timings(entry)


def _document(entry: Entry, registry: Registry) -> dict[str, object]:
    from harness.checkpoints import status

    return {
        **asdict(entry),
        "checkpoint_status": status(entry),
        "paper": asdict(registry.papers[entry.paper]),
        "evaluation": asdict(registry.evaluations[entry.evaluation]),
        "figures": list(_figures(entry, registry)),
        "results": _results(entry.id),
        "latencies": list(_timings(entry).values()),
    }


def _figures(entry: Entry, registry: Registry) -> Sequence[FigureStatus]:
    from harness.reports import published_figures

    return published_figures(registry, [entry], _results(entry.id))[entry.id]


def _specified(entry: Entry, registry: Registry) -> str:
    """Who says what of the training protocol, part by part where it is known."""
    if entry.recipe is None:
        return MISSING
    recipe = registry.recipes[entry.recipe]
    parts = ", ".join(f"{part} {source}" for part, source in recipe.parts.items())
    return parts or recipe.specified_by


def _timings(entry: Entry) -> dict[TimingPlace, LatencyRecord]:
    """Where the entry was timed -> the newest record of that place."""
    from harness.results import load_timings

    return {record.place: record for record in load_timings(entry=entry.id)}


def _stored(name: str) -> list[Result]:
    from harness.results import load_all

    return list(load_all(entry=name))


def _results(id: str) -> list[Result]:
    """Those of the entry: one's own of the same name is not among them."""
    return [result for result in _stored(id) if result.paper is not None]


def _show_own(results: list[Result], as_json: bool) -> None:
    """A run that is in no registry: its newest result, and where to look further."""
    newest = results[-1]
    if as_json:
        print_json({"id": newest.entry, "results": results})
        return
    from harness.reports import verdict_blocks

    print_rich(verdict_blocks([newest]))
    lines = {
        "method": f"{newest.method}, {newest.granularity}",
        "model": f"{newest.model} on {newest.dataset}",
        "settings": ", ".join(f"{k}={v}" for k, v in newest.settings.items()) or MISSING,
        "record": f"reports/results/{newest.entry}/{newest.result_id}.json",
    }
    if newest.mode == "pruned":
        lines["layers"] = (
            f"bench allocation DENSE --run {newest.entry} (DENSE: what it started from)"
        )
    for label, text in lines.items():
        say_line(f"{label:<12} {text}")


def _facts(entry: Entry, registry: Registry) -> list[tuple[str, str]]:
    from harness.checkpoints import in_browser, status, stored_copy

    paper = registry.papers[entry.paper]
    evaluation = registry.evaluations[entry.evaluation]
    settings = registry.settings_of(entry)
    rows = [
        ("paper", f"{paper.title} ({paper.venue})"),
        ("", paper.url),
        ("code", paper.code or MISSING),
        ("licence", paper.license),
        ("method", f"{entry.method}, {entry.granularity}"),
        ("model", f"{entry.model} on {entry.dataset}"),
        ("evaluation", f"{evaluation.name} v{evaluation.version}"),
        *(("", f"stated elsewhere for the same file: {name}") for name in entry.also_stated),
        ("recipe", entry.recipe or "none: no training protocol is known"),
        ("specified by", _specified(entry, registry)),
        ("settings", ", ".join(f"{k}={v}" for k, v in settings.items()) or MISSING),
        ("FLOPs unit", paper.flops_convention),
        ("not counted", ", ".join(entry.prunable_exclude) or "every conv and linear weight counts"),
        ("baseline", entry.baseline or MISSING),
        ("suites", ", ".join(entry.suites) or MISSING),
        ("checkpoint", status(entry)),
    ]
    if entry.checkpoint:
        rows += [("", in_browser(source)) for source in entry.checkpoint.sources]
        rows.append(("", f"sha256 {entry.checkpoint.sha256 or 'not pinned yet'}"))
        rows.append(("", f"licence of the file: {entry.checkpoint.license}"))
    here = stored_copy(entry)
    if here is not None and here.by_hand:
        rows.append(("", f"given by hand: {here.source}, sha256 {here.sha256}"))
    if entry.note:
        rows.append(("note", entry.note))
    return rows


def _published(entry: Entry, registry: Registry) -> Table:
    """What is printed, what became of it, and where it is printed."""
    from harness.reports import here_text

    rows = []
    for figure in _figures(entry, registry):
        name, value = figure.figure, figure.published
        spread = f" ± {value.std}" if value.std else ""
        doubt = (
            f" (suspect: {value.note})" if value.suspect else f" ({value.note})" * bool(value.note)
        )
        rows.append((name, f"{value.text}{spread}", here_text(figure), value.source + doubt))
    heads = ("published", "value", "checked here", "source")
    return plain_table(heads, rows, right=("value",), whole=heads[:3])


def _print_history(entry: Entry) -> None:
    results = _results(entry.id)
    if not results:
        say_line(f"No result yet. Measure it: bench reproduce {entry.id}")
        return
    rows = []
    for result in results:
        top1 = result.metrics.get("top1_pct")
        measured, delta = (top1.measured, top1.delta) if top1 else (None, None)
        accuracy = MISSING if measured is None else f"{measured:.2f}"
        change = MISSING if delta is None else f"{delta:+.2f}"
        verdict = result.verdict
        kind = (result.created[:10], result.mode)
        rows.append((*kind, accuracy, change, styled(verdict.status), verdict.reason))
    heads = ("result", "mode", "top-1 %", "Δ", "verdict", "reason")
    print_rich(plain_table(heads, rows, right=("top-1 %", "Δ")))


def _print_timings(entry: Entry) -> None:
    from harness.reports import machine_in_words, timing_sentences

    for record in _timings(entry).values():
        say_line(f"timed {record.created[:10]} on {machine_in_words(record)}")
        for sentence in timing_sentences(record):
            say_line(f"  {sentence}")
