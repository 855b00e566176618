"""bench eval"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from harness.commands import name_options, network_options
from harness.commands import shared_options as options
from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json
from harness.commands.printed_results import print_results
from harness.commands.run_options import RunOptions, recording

if TYPE_CHECKING:
    from harness.export import NetworkName
    from harness.system import Reading


@click.command(
    "eval",
    epilog="Example:  bench eval --model convnet_tiny --dataset digits "
    "--weights checkpoints/shipped/dense-convnet-tiny-digits.safetensors",
)
@click.argument("entry_id", metavar="[RUN]", required=False, shell_complete=options.complete_ids)
@network_options.named
@options.reading
@name_options.named("--evaluation", help="Evaluation protocol (default: the data set's own).")
@click.option("--name", help="Name under which the result is stored.")
@click.option("--limit", type=WholeNumber(1), help="Only N images: a smoke run.")
@options.recalibrate
@options.evaluation
@recording
def command(
    what: NetworkName,
    reading: Reading,
    evaluation: str | None,
    name: str | None,
    limit: int | None,
    recalibrate: int | None,
    cache: bool | None,
    fast: bool,
    run: RunOptions,
) -> None:
    """Evaluate weights of your own by a published protocol.

    RUN is a finished run (of code of your own: with its --model); else --model, --dataset and
    --weights name a file. The result stands in the same table as every published row.
    """
    registry = run.registry()
    from harness.export import evaluate_network

    chosen_pass = {"limit": limit, "cache": options.cache_policy(cache), "fast": fast}
    with run.begun(**chosen_pass, reading=reading) as (chosen, listener):
        result = evaluate_network(
            what,
            registry,
            chosen,
            evaluation=evaluation,
            name=name,
            recalibrate=recalibrate,
            on_result=listener,
        )
    if run.as_json:
        print_json(result)
    else:
        print_results([result])
