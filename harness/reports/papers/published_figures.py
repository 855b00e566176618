"""Every published figure and what became of it, from all that is stored: the one reading that
claims, paper tables, `bench list --paper`, `bench show` and the site share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.registry import Entry, Registry
from harness.reports.papers.derived_figures import load_derived
from harness.results import (
    FigureStatus,
    FileMeans,
    Link,
    Means,
    Result,
    figure_statuses,
    load_all,
    load_links,
)


def published_figures(
    registry: Registry,
    entries: Iterable[Entry] | None = None,
    results: Iterable[Result] | None = None,
    links: Mapping[str, Link] | None = None,
) -> dict[str, tuple[FigureStatus, ...]]:
    """Entry -> status of each of its figures, as its source prints them.

    entries: default all. results, links: default all that are stored.
    """
    chosen = list(registry.entries.values()) if entries is None else list(entries)
    stored = list(load_all(layers=False)) if results is None else list(results)
    answers = load_links() if links is None else links
    derived = load_derived(registry, chosen)
    mine: dict[str, list[Result]] = {}
    for result in stored:
        mine.setdefault(registry.aliases.get(result.entry, result.entry), []).append(result)
    here: dict[str, bool] = {}
    found = {}
    for entry in chosen:
        file = _file(entry, answers)
        facts = (derived.get(entry.id, {}), registry.aliases)
        own = mine.get(entry.id, ())
        found[entry.id] = figure_statuses(entry, own, Means(file, data=False), *facts)
        if any(figure.waits_for == "data" for figure in found[entry.id]):
            if entry.dataset not in here:  # asked only where it decides: the answer needs torch
                here[entry.dataset] = _has_data(entry.dataset)
            found[entry.id] = figure_statuses(entry, own, Means(file, here[entry.dataset]), *facts)
    return found


def _file(entry: Entry, links: Mapping[str, Link]) -> FileMeans:
    """Where the published file of `entry` is."""
    from harness.checkpoints import status

    if entry.checkpoint is None:
        return "none"
    if status(entry) != "link":
        return "here"
    answers = [links.get(source) for source in entry.checkpoint.sources]
    dead = all(answer is not None and answer.ok is False for answer in answers)
    return "gone" if dead else "published"


def _has_data(dataset: str) -> bool:
    from harness.data import describe

    return describe(dataset).found
