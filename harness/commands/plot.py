"""bench plot"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import name_options
from harness.commands import shared_options as options
from harness.commands.dataset_options import named
from harness.commands.visible_text import say_line
from harness.reports import AXES, plot_points

if TYPE_CHECKING:
    from harness.reports import Axis
    from harness.results import LatencyRecord


@click.command(
    "plot", epilog="Example:  bench plot --dataset cifar10 --x macs --out cifar10-macs.svg"
)
@name_options.named("--dataset", help="Only this data set; accuracies of two do not compare.")
@name_options.named("--method", help="Only this method.")
@name_options.named("--model", help="Only this model.")
@click.option(
    "--x",
    "axis",
    type=click.Choice(AXES),
    default="macs",
    show_default=True,
    help="What accuracy is drawn against.",
)
@click.option(
    "--machine", help="With --x latency: hash of the machine (default: the newest one's)."
)
@click.option(
    "--out",
    required=True,
    type=options.FILE,
    help="Picture to write, .png or .svg.",
)
def command(
    dataset: str | None,
    method: str | None,
    model: str | None,
    axis: Axis,
    machine: str | None,
    out: Path,
) -> None:
    """Draw accuracy against MACs, parameters or latency.

    From stored results only: the newest of each entry and way of measuring. The Pareto front runs
    through full numbers measured here. Latencies are those of one machine.
    """
    from harness.reports import draw_tradeoff
    from harness.results import current, load_all

    wanted = {"dataset": dataset and named(dataset), "method": method, "model": model}
    given = {name: value for name, value in wanted.items() if value is not None}
    chosen = [
        result
        for result in current.per_mode(load_all(), options.load_registry(()).aliases).values()
        if all(getattr(result, name) == value for name, value in given.items())
    ]
    sets = sorted({result.dataset for result in chosen})
    if len(sets) > 1:
        msg = f"results of {len(sets)} data sets do not compare ({', '.join(sets)})"
        raise click.UsageError(f"{msg}; choose one with --dataset")
    records, note = _latencies(axis, machine)
    found = plot_points(sorted(chosen, key=lambda result: result.entry), axis, records)
    about = ", ".join(str(value) for value in given.values()) or "all stored results"
    target = draw_tradeoff(found, axis, f"Accuracy and cost: {about}", note, out)
    say_line(f"{target}: {len({p.entry for p in found})} entries, {target.stat().st_size:,} bytes")


def _latencies(axis: Axis, machine: str | None) -> tuple[dict[str, LatencyRecord], str]:
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
