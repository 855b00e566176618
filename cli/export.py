"""bench export"""

from __future__ import annotations

from pathlib import Path

import click

from cli import options
from cli.output import print_json


@click.command(
    "export",
    epilog="Example:  bench export ftwt-resnet56-cifar10-0.80-decoupled model_best.pth.tar "
    "--layout paper --epoch best",
)
@click.argument("entry_id", metavar="ID", shell_complete=options.complete_ids)
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Which seed of the run."
)
@click.option(
    "--epoch",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    help="best: on the test set, kept when the recipe selects it.",
)
@click.option(
    "--layout",
    type=click.Choice(["plain", "paper"]),
    default="plain",
    show_default=True,
    help="plain: safetensors. paper: a torch file that the paper's code reads.",
)
@options.as_json
def command(entry_id: str, target: Path, seed: int, epoch: str, layout: str, as_json: bool) -> None:
    """Hand out the weights of a finished run.

    The newest result of the entry (a registry id, or the name of a run of your own) says which.
    """
    from harness.export import export, last_trained

    result = last_trained(entry_id)
    export(result, target, seed, epoch, layout)
    if as_json:
        print_json({"entry": entry_id, "result_id": result.result_id, "file": str(target)})
    else:
        size = target.stat().st_size
        click.echo(f"{target}: {size:,} bytes, seed {seed}, {epoch} epoch of {result.result_id}")
