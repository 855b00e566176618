"""bench train"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import methods
from harness.commands import dataset_options, name_options, network_options
from harness.commands import shared_options as options
from harness.commands.config_file import config
from harness.commands.run_options import RunOptions, recording
from harness.commands.schedule import TrainingChoices, limit, run_training, training_options

if TYPE_CHECKING:
    from harness.system import Reading

METHODS = ", ".join(methods.BUILT_IN)


@click.command(
    "train",
    epilog="Example:  bench train --method gmp --model convnet_tiny --dataset digits "
    "--set epochs=10 --set settings.sparsity=0.9 --seeds 3",
)
@config
@name_options.named(
    "--method", required=True, help=f"Pruning method: {METHODS}, or one installed by others."
)
@network_options.model()
@dataset_options.dataset(stated=True)
@name_options.named(
    "--recipe", "recipe_name", help="Training protocol (default: the data set's own)."
)
@name_options.named("--evaluation", help="Evaluation protocol (default: the data set's own).")
@click.option(
    "--start",
    help="Entry or run whose weights it starts from (then --model and --dataset may be left out).",
)
@click.option(
    "--weights",
    type=options.FILE,
    help="File whose weights the run starts from, instead of --start.",
)
@options.reading
@click.option("--name", help="Name under which the result is stored.")
@limit
@training_options
@recording
def command(
    method: str,
    model: str | None,
    dataset: str | None,
    recipe_name: str | None,
    evaluation: str | None,
    start: str | None,
    weights: Path | None,
    reading: Reading,
    name: str | None,
    schedule: TrainingChoices,
    run: RunOptions,
) -> None:
    """Train with any method under a standardized protocol.

    Seeds run one after the other. Interrupted runs continue with the same command; finished ones
    are not repeated.
    """
    if start is not None and weights is not None:
        raise click.UsageError("--start and --weights both say where to begin; give one")
    from harness.registry import local_training
    from harness.training import named_start

    registry = run.registry()
    begin = named_start(start, registry, model, dataset)
    planned = local_training(
        registry,
        method=method,
        model=begin.model,
        dataset=begin.dataset,
        recipe_name=recipe_name,
        evaluation=evaluation or begin.evaluation,
        start=begin.entry,
        name=name,
        overrides=schedule.overrides,
    )
    from_file = weights or begin.file
    run_training(planned, registry, schedule, run, from_file=from_file, reading=reading)
