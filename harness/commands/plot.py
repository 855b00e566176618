"""bench plot"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.row_options import RowChoice, row_options
from harness.commands.visible_text import say_line
from harness.reports import AXES, LABELS

if TYPE_CHECKING:
    from harness.reports import Labels, Row
    from harness.results import LatencyRecord


@click.command(
    "plot", epilog="Example:  bench plot --dataset cifar10 --x macs --out cifar10-macs.pdf"
)
@row_options
@click.option(
    "--x",
    "axis",
    type=click.Choice(tuple(AXES)),
    default="macs",
    show_default=True,
    help="What accuracy is drawn against.",
)
@click.option(
    "--machine", help="With --x latency: hash of the machine (default: the newest one's)."
)
@click.option(
    "--partial", is_flag=True, help="Also short schedules and subsets, hollow and off the front."
)
@click.option(
    "--labels",
    type=click.Choice(LABELS),
    default="own",
    show_default=True,
    help="Which entries are named in the picture.",
)
@click.option("--title", help="Title of the picture (default: the filters).")
@click.option(
    "--out",
    required=True,
    type=options.FILE,
    help="Picture to write: .pdf, .png or .svg; .json is a Vega-Lite specification.",
)
def command(
    choice: RowChoice,
    axis: str,
    machine: str | None,
    partial: bool,
    labels: Labels,
    title: str | None,
    out: Path,
) -> None:
    """Draw accuracy against MACs, parameters, sparsity, size or latency.

    The rows of `bench table` with the same options: a line per method with three levels or more,
    error bars over seeds, one's own rows in front. The Pareto front runs through full numbers
    measured here, by today's protocol. Latencies are those of one machine.
    """
    from harness.reports import Picture, draw_tradeoff, plot_points

    rows = choice.rows(choice.registry())
    _require_one_data_set(rows)
    records, note = _latencies(axis, machine)
    marks = plot_points(rows, AXES[axis], records, published=choice.published, partial=partial)
    hidden = len({row.entry for row in rows if row.partial}) if not partial else 0
    if not marks and hidden:
        only = f"only short schedules or subsets match ({hidden} entries)"
        raise click.UsageError(f"{only}; draw them with --partial")
    heading = title if title is not None else _heading(choice, rows)
    picture = Picture(heading, note, labels)
    target = draw_tradeoff(marks, AXES[axis], picture, out)
    left_out = f"; {hidden} short or partial ones left out (--partial)" if hidden else ""
    entries = len({mark.entry for mark in marks})
    say_line(f"{target}: {entries} entries, {target.stat().st_size:,} bytes{left_out}")


def _require_one_data_set(rows: list[Row]) -> None:
    sets = sorted({row.dataset for row in rows})
    if len(sets) > 1:
        msg = f"results of {len(sets)} data sets do not compare ({', '.join(sets)})"
        raise click.UsageError(f"{msg}; choose one with --dataset")


def _heading(choice: RowChoice, rows: list[Row]) -> str:
    given = [", ".join(values) for values in choice.wanted().filters.values()]
    about = ", ".join(given) or next((row.dataset for row in rows), "")
    return f"Accuracy and cost: {about}"


def _latencies(axis: str, machine: str | None) -> tuple[dict[str, LatencyRecord], str]:
    """Records of one place, and what must be said about them."""
    if axis != "latency":
        return {}, ""
    from harness.reports import machine_in_words
    from harness.results import load_timings, newest

    records = newest(machine)
    if machine is not None and not records:
        known = sorted({record.place.machine for record in load_timings()})
        msg = f"nothing was timed on machine {machine!r}; on record: {', '.join(known) or 'none'}"
        raise click.UsageError(msg)
    return records, machine_in_words(next(iter(records.values()))) if records else ""
