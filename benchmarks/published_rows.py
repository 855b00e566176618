"""The small published checkpoints as a table: author, claim, measured, verdict, what was found.

Reads the registry and stored results only and writes the table between the markers of the page;
with --small it prints it. Run it from the project's root:

    python -m benchmarks.published_rows --into reports/published.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import parsed
from benchmarks.pages import put_between
from harness.registry import Entry, Registry, load
from harness.results import Result, load_all

VENUE = "GitHub repository"


def newest() -> dict[str, Result]:
    """The newest full evaluation of every entry."""
    found: dict[str, Result] = {}
    for result in load_all():
        if not result.runs and not result.smoke:
            best = found.get(result.entry)
            if best is None or result.result_id > best.result_id:
                found[result.entry] = result
    return found


def table(registry: Registry, results: dict[str, Result]) -> str:
    """One line per printed figure; one for a row that prints none."""
    lines = [
        "| author | row | printed | measured | verdict | note |",
        "| --- | --- | --- | ---: | --- | --- |",
    ]
    for entry in registry.entries.values():
        paper = registry.papers[entry.paper]
        if paper.venue == VENUE:
            author = f"[{paper.title}]({paper.code})"
            lines += [f"| {author} | {cells} | {entry.note} |" for cells in _cells(entry, results)]
    return "\n".join(lines)


def _cells(entry: Entry, results: dict[str, Result]) -> list[str]:
    result = results.get(entry.id)
    if result is None:
        return [f"`{entry.id}` | – | – | not evaluated"]
    link = f"[`{entry.id}`](results/{entry.id}/{result.result_id}.json)"
    lines = []
    for metric, printed in entry.published.items():
        compared = result.metrics[metric]
        measured = "–" if compared.measured is None else f"{compared.measured:.2f}"
        said = f"{metric} {printed.text} ({printed.source})"
        lines.append(f"{link} | {said} | {measured} | {compared.status}")
    if not lines and result.counts is not None:
        lines.append(f"{link} | – | {result.counts.top1_pct:.2f} | reported")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("reports/published.md"))
    options = parsed(parser, into=None)
    inside = table(load(), newest())
    if options.into is None:
        print(inside)
        return
    put_between(options.into, "published", inside)


if __name__ == "__main__":
    main()
