"""bench eval"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import dataset_options, name_options, network_options
from harness.commands import shared_options as options
from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json
from harness.commands.printed_results import print_results
from harness.commands.run_options import RunOptions, recording

if TYPE_CHECKING:
    from harness.system import Reading


@click.command(
    "eval",
    epilog="Example:  bench eval --model convnet_tiny --dataset digits "
    "--weights checkpoints/shipped/dense-convnet-tiny-digits.safetensors",
)
@network_options.model(required=True)
@dataset_options.dataset(required=True)
@click.option(
    "--weights",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="State dict (.pt, .pth, .safetensors, ...).",
)
@options.reading
@name_options.named("--evaluation", help="Evaluation protocol (default: the data set's own).")
@click.option("--name", help="Name under which the result is stored.")
@click.option("--limit", type=WholeNumber(1), help="Only N images: a smoke run.")
@options.recalibrate
@options.evaluation
@recording
def command(
    model: str,
    dataset: str,
    weights: Path,
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

    The result stands in the same table as every published row.
    """
    registry = run.registry()
    from harness.checkpoints import build_model, load_into, read_weights
    from harness.evaluation import evaluate_model
    from harness.models import fitted_entry
    from harness.registry import local_entry

    entry = local_entry(
        registry,
        method="dense",
        model=model,
        dataset=dataset,
        evaluation=evaluation,
        name=name or "-".join(["local", model, dataset, weights.stem, *_variant(recalibrate)]),
    )
    entry = fitted_entry(entry, registry.evaluations[entry.evaluation])
    network = build_model(entry)
    chosen_pass = {"limit": limit, "cache": options.cache_policy(cache), "fast": fast}
    with run.begun(**chosen_pass) as (chosen, listener):
        tensors, facts = read_weights(weights, reading, network, chosen.progress)
        load_into(network, tensors, weights.name)
        result = evaluate_model(
            entry, registry, network.to(chosen.device), facts, chosen, recalibrate
        )
        listener(result)
    if run.as_json:
        print_json(result)
    else:
        print_results([result])


def _variant(recalibrate: int | None) -> tuple[str, ...]:
    return () if recalibrate is None else (f"bn{recalibrate}",)
