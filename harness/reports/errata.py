"""Printed figures that their own source, their file, or arithmetic refutes: reports/errata.md and
a page of the site. Neutral: what is printed, what holds, the command that shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness import paths
from harness.registry import Entry, Registry
from harness.reports.claims import CONTRADICTED, Claims
from harness.reports.papers.derived_figures import RELEASED_CODE, DerivedFigure, all_derived
from harness.reports.papers.paper_tables import heading, printed_text
from harness.results import AMBIGUOUS, INCONSISTENT, needs_images
from harness.system import replace_text

INTRODUCTION = (
    "Each line is a printed figure and what holds instead, found by the command beside it: without "
    "a network for what follows from printed figures, architectures and budget files, and with the "
    "published file where the file decides. A line says that two things cannot both be right, not "
    "which of them is wrong, and nothing about how it came about; most are slips of a digit or of "
    "a column."
)
DISPUTE = (
    "To dispute a line: run its command, and open an issue with what it prints, or with the place "
    "where the source says otherwise. A figure that is transcribed wrongly here is a bug of "
    "registry.yaml and is mended there; a verdict that rests on a wrong reading is withdrawn with "
    "the reason kept in the change log."
)
_SECTIONS = {
    "figure": "Figures that cannot be right as printed",
    "file": "Figures that the published file does not give",
    "stated": "Figures whose preprocessing is stated in several variants, none of which gives them",
    "program": "Figures that the released program cannot give, or counts otherwise",
}


@dataclass(frozen=True, slots=True)
class Erratum:
    """One printed figure that something refutes."""

    paper: str
    entry: str
    figure: str
    section: str  # figure | file | stated | program
    printed: str
    holds: str
    command: str


def errata_file() -> Path:
    """Where the page lies."""
    return paths.record_folder() / "errata.md"


def find_errata(
    registry: Registry, claims: Claims, derived: Iterable[DerivedFigure]
) -> list[Erratum]:
    """All of them, by section, in the order of the registry; one line per figure and section."""
    found: dict[tuple[str, str, str], Erratum] = {}
    for item in derived:
        if item.comparison.status == INCONSISTENT:
            entry = registry.entries[item.entry]
            section = "program" if item.kind == RELEASED_CODE else "figure"
            command = f"bench registry check --full --entry {entry.id}"
            _add(found, _erratum(entry, item.figure, section, item.comparison.reason, command))
    for figure in (*claims.with_outcome(CONTRADICTED), *claims.with_outcome(AMBIGUOUS)):
        entry = registry.entries[figure.entry]
        seen = figure.basis == "evaluated" and needs_images(entry, figure.figure)
        note = f" ({entry.note})" if entry.note and seen else ""
        section = "figure" if figure.basis == "derived" else "file"
        section = "stated" if figure.outcome == AMBIGUOUS else section
        _add(found, _erratum(entry, figure.figure, section, figure.reason + note, figure.command))
    order = {name: place for place, name in enumerate(registry.entries)}
    sections = list(_SECTIONS)
    return sorted(found.values(), key=lambda e: (sections.index(e.section), order[e.entry]))


def _erratum(entry: Entry, figure: str, section: str, reason: str, command: str) -> Erratum:
    metric, _, layer = figure.partition(".")
    name = f"{heading(metric)} of {layer}" if layer else heading(metric)
    printed = replace(entry.published[figure], suspect=False)
    text = f"{printed_text(printed)} ({printed.source})"
    return Erratum(entry.paper, entry.id, name, section, text, reason, command)


def _add(found: dict[tuple[str, str, str], Erratum], item: Erratum) -> None:
    """Two rules that refute one figure make one line."""
    key = (item.entry, item.figure, item.section)
    before = found.get(key)
    if before is not None and item.holds not in before.holds:
        item = replace(before, holds=f"{before.holds}; {item.holds}")
    found[key] = item


def write_errata(registry: Registry, claims: Claims, target: Path) -> int:
    """Write the page from what is stored into `target`; how many lines it has."""
    items = find_errata(registry, claims, all_derived(registry))
    replace_text(target, _markdown(items))
    return len(items)


def by_section(items: Iterable[Erratum]) -> Mapping[str, list[Erratum]]:
    """Title of each section that has any -> its errata."""
    chosen = list(items)
    titled = {title: [e for e in chosen if e.section == key] for key, title in _SECTIONS.items()}
    return {title: mine for title, mine in titled.items() if mine}


def _markdown(items: Iterable[Erratum]) -> str:
    """The whole of reports/errata.md."""
    blocks = ["# Errata of published figures", INTRODUCTION, DISPUTE]
    for title, mine in by_section(items).items():
        lines = ["| paper | row | figure | printed | what holds | shown by |", "|" + " --- |" * 6]
        lines += [
            f"| {e.paper} | `{e.entry}` | {e.figure} | {_cell(e.printed)} | {_cell(e.holds)} | "
            f"`{e.command}` |"
            for e in mine
        ]
        blocks += [f"## {title}", "\n".join(lines)]
    blocks.append(
        "Written by `bench registry check --full --record`, or by `bench claims --errata FILE`."
    )
    return "\n\n".join(blocks) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
