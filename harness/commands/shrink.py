"""bench shrink"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import network_options
from harness.commands import shared_options as options
from harness.commands.number_types import RealNumber
from harness.commands.output import print_json
from harness.commands.printed_timings import show_timings
from harness.commands.run_options import RunOptions, reading_weights
from harness.commands.visible_text import say_line

if TYPE_CHECKING:
    from harness.export import NetworkName, Shrunk
    from harness.system import Reading


@click.command(
    "shrink", epilog="Example:  bench shrink --model resnet18 --channels 0.5 --out half.safetensors"
)
@click.argument("entry_id", metavar="[RUN|ENTRY|RESULT]", required=False)
@click.option(
    "--out", required=True, type=options.FILE, help="File for the smaller network (.safetensors)."
)
@click.option(
    "--channels",
    type=RealNumber(0, 1, min_open=True, max_open=True),
    help="Cut this share of every layer's channels, smallest L1 norm first (extra `shrink`).",
)
@network_options.named
@options.reading
@reading_weights
def command(
    what: NetworkName,
    out: Path,
    channels: float | None,
    reading: Reading,
    run: RunOptions,
) -> None:
    """Write a network without some channels, and time both.

    A finished filter search (RUN is its folder, ENTRY a name whose newest finished run is meant,
    RESULT the id or file of a stored result) loses its dead channels: checked against the masked
    network, with the state beside it as packed bits. With --channels any network loses a share of
    its channels, untrained afterwards; --model without --weights is drawn at random. Time the file
    elsewhere: bench latency --model NAME --weights FILE. Load it with
    harness.checkpoints.narrowed.load_shrunk.
    """
    if what.word is None and what.model is None:
        raise click.UsageError("give a run, an entry or a result, or --model NAME")
    if channels is None:
        if what.word is None or what.model is not None:
            raise click.UsageError("--model goes with --channels")
        _search(what.word, out, run.as_json)
    else:
        _cut(what, channels, out, reading, run)


def _cut(what: NetworkName, channels: float, out: Path, reading: Reading, run: RunOptions) -> None:
    from harness.export import narrowed_network
    from harness.profile import LatencyRequest, measure_latency
    from harness.results import save_timings

    registry = run.registry()
    with run.begun(reading=reading) as (chosen, _):
        subjects = narrowed_network(what, registry, chosen, channels, out)
        request = LatencyRequest(
            backends=("eager",), batches=(1,), memory=False, progress=chosen.progress
        )
        record = measure_latency(subjects, request)
        save_timings(record)
    if run.as_json:
        print_json({**asdict(record), "out": out.name})
    else:
        show_timings(record)
        say_line(f"written: {out.name}")


def _search(what: str, out: Path, as_json: bool) -> None:
    from harness.export import filter_state_file, finished_run_folder, shrink_filter_search

    made = shrink_filter_search(finished_run_folder(what), out)
    if as_json:
        print_json({**asdict(made), "out": out.name})
        return
    for line in _lines(made):
        say_line(line)
    say_line(f"written              {out.name}, {filter_state_file(out).name}")


def _lines(made: Shrunk) -> list[str]:
    lines = [
        f"run                  {made.entry}",
        f"masked vs. shrunk    {made.largest_difference:.3g} largest difference of a logit",
        f"parameters           {made.params_shrunk:,} of {made.params_dense:,}",
    ]
    if "structural_macs" in made.figures:
        left, dense = made.figures["structural_macs"], made.figures["dense_macs"]
        lines.append(
            f"MACs                 {left:,.0f} of {dense:,.0f} ({100 * left / dense:.2f} %)"
        )
    lines.append(f"kept ratio R         {made.figures['kept_pct']:.2f} %")
    reference = made.latency["dense"].p50
    for name, times in made.latency.items():
        lines.append(
            f"{name:<20} {times.p50:.2f} ms per image (p90 {times.p90:.2f}), "
            f"{reference / times.p50:.2f}x dense, {made.threads} threads"
        )
    return lines
