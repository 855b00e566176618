"""bench shrink"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.output import print_json

if TYPE_CHECKING:
    from harness.shrunk import Shrunk


@click.command("shrink", epilog="Example:  bench shrink runs/my-search/0123456789ab-seed0 --out s")
@click.argument("what", metavar="RUN|ENTRY")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the smaller network (.safetensors).",
)
@options.as_json
def command(what: str, out: Path, as_json: bool) -> None:
    """Write a finished filter search without its dead channels.

    RUN is the folder of a run, ENTRY a name whose newest finished run is meant. The smaller
    network is checked against the masked one and timed in turns with it; the state lies beside it
    as packed bits. Load it with harness.shrunk.load_shrunk.
    """
    from harness.shrunk import find_run, shrink_run, state_file

    made = shrink_run(find_run(what), out)
    if as_json:
        latency = {name: times.model_dump() for name, times in made.latency.items()}
        print_json({**asdict(made), "latency": latency, "out": out.name})
        return
    for line in _lines(made):
        click.echo(line)
    click.echo(f"written              {out.name}, {state_file(out).name}")


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
