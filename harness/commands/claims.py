"""bench claims"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import name_options
from harness.commands import shared_options as options
from harness.commands.output import plain_table, print_json, print_rich, styled
from harness.commands.visible_text import say_line

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from harness.registry import Registry
    from harness.reports import Claims, LinkCount
    from harness.results import FigureStatus


@click.command("claims", epilog="Example:  bench claims --paper acdc")
@name_options.named("--paper", help="List every figure of one paper.")
@click.option(
    "--errata",
    type=options.FILE,
    metavar="FILE",
    help="Write the errata page, such as reports/errata.md, from what is stored.",
)
@click.option(
    "--out",
    "--plot",
    "picture",
    type=options.FILE,
    metavar="FILE",
    help="Draw the published files that do not hold what was printed (.svg, .png).",
)
@options.extra_registries
@options.as_json
def command(
    paper: str | None,
    errata: Path | None,
    picture: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """How many published figures hold, and how many links.

    Figure by figure, from stored results, `bench registry check --full --record` and link checks:
    reproduced, contradicted, inconsistent in its source, given by none of several stated
    preprocessings, not reached by a protocol that is partly ours, doubtful, waiting (for a file,
    data, training, a GPU), or impossible to check.
    """
    from harness.reports import count_claims

    registry = options.load_registry(registries)
    if paper is not None:
        options.require_papers([paper], registry)
    found = count_claims(registry)
    if errata is not None or picture is not None:
        _write(found, registry, paper, errata, picture)
        return
    if as_json:
        print_json(_document(found, paper))
    elif paper is None:
        print_rich(_overview(found))
    else:
        print_rich(_figures(found.figures(paper)))


def _write(
    found: Claims, registry: Registry, paper: str | None, errata: Path | None, picture: Path | None
) -> None:
    from harness.reports import draw_printed_and_found, files_in_dispute, write_errata

    if errata is not None:
        say_line(f"{errata}: {write_errata(registry, found, errata)} errata")
    if picture is not None:
        lines = files_in_dispute(found.figures(paper))
        draw_printed_and_found(lines, picture)
        say_line(f"{picture}: {len({line.entry for line in lines})} files in dispute")


def _document(found: Claims, paper: str | None) -> dict[str, object]:
    return {
        "rows": len(found.rows),
        "rows_judged": found.settled_rows(),
        "own": found.own,
        "counts": found.counts(paper),
        "waits_for": found.needs(),
        "reasons": found.reasons(),
        "papers": {key: found.counts(key) for key in dict.fromkeys(found.papers.values())},
        "pages": asdict(found.pages),
        "files": asdict(found.files),
        "figures": [asdict(figure) for figure in found.figures(paper)],
    }


def _overview(found: Claims) -> Group:
    from rich.console import Group
    from rich.text import Text

    from harness.reports import DISPUTED

    disputed = [figure for outcome in DISPUTED for figure in found.with_outcome(outcome)]
    return Group(
        Text(found.summary, "bold"),
        Text(f"not among them: {found.own} networks of this project itself", "dim"),
        Text(),
        *((_figures(disputed), Text()) if disputed else ()),
        _reasons(found),
        Text(),
        Text(f"links to files: {links_sentence(found.files)}"),
        Text(f"links to pages: {links_sentence(found.pages)}"),
        Text("One paper, figure by figure: bench claims --paper KEY", "dim"),
    )


def _figures(figures: list[FigureStatus]) -> Table:
    """One line per figure: what was printed, what became of it, why, and what settles it."""
    rows = []
    for f in figures:
        status = f.comparison.status if f.comparison and f.basis else f.outcome
        need = f" for {f.waits_for}" if f.waits_for else ""
        outcome = styled(status if f.basis else f.outcome + need)
        rows.append((f.entry, f.figure, f.published.text, outcome, f.reason, f.command))
    heads = ("entry", "figure", "printed", "outcome", "why", "command")
    return plain_table(heads, rows, right=("printed",))


def _reasons(found: Claims) -> Table:
    rows = [(str(count), why) for why, count in found.reasons().items()]
    return plain_table(("figures", "open because"), rows, right=("figures",))


def links_sentence(count: LinkCount) -> str:
    """One line: alive of total, or that nobody ever asked."""
    if count.never_probed == count.total:
        return f"{count.total}, never probed. Ask them: bench registry links"
    parts = [f"{count.alive} of {count.total} alive", f"{count.dead} dead"]
    parts += [f"{count.unclear} unclear"] if count.unclear else []
    parts += [f"{count.never_probed} never probed"] if count.never_probed else []
    return f"{', '.join(parts)} (last asked {count.last_checked})"
