"""bench prune"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import methods
from harness.commands import dataset_options, name_options, network_options
from harness.commands import shared_options as options
from harness.commands.allocation import budget_options, chosen_settings
from harness.commands.config_file import config
from harness.commands.number_types import RealNumber, WholeNumber
from harness.commands.run_options import RunOptions, recording
from harness.commands.schedule import TrainingChoices, limit, run_training, training_options

if TYPE_CHECKING:
    from harness.system import Reading


@click.command(
    "prune",
    epilog="Example:  bench prune --method magnitude --model convnet_tiny --dataset digits "
    "--start dense-convnet-tiny-digits --target 0.9 --finetune 2ep --set settings.allocation=lamp",
)
@config
@name_options.named(
    "--method", required=True, help="Method with a one-shot form, such as magnitude."
)
@network_options.model()
@dataset_options.dataset(stated=True)
@click.option("--start", help="Entry or run to prune (then --model and --dataset may be left out).")
@click.option(
    "--weights",
    type=options.FILE,
    help="File of the dense network to prune, instead of --start.",
)
@options.reading
@click.option(
    "--dense",
    metavar="LENGTH",
    help='Train the network first, from fresh weights, for "160ep" or "50000it": no --start then.',
)
@click.option(
    "--target",
    type=RealNumber(0, 1, min_open=True, max_open=True),
    required=True,
    help="Sparsity after the last round: share of zeros in conv and linear weights; with --budget "
    "macs the share of MACs to remove.",
)
@budget_options
@click.option("--rounds", type=WholeNumber(1), default=1, show_default=True)
@click.option("--finetune", default="0ep", show_default=True, help='After each round: "2ep".')
@options.recalibrate
@name_options.named(
    "--recipe", "recipe_name", help="Fine-tuning protocol (default: the data set's own)."
)
@name_options.named("--evaluation", help="Evaluation protocol (default: of the start entry).")
@click.option("--name", help="Name under which the result is stored.")
@limit
@training_options
@recording
def command(
    method: str,
    model: str | None,
    dataset: str | None,
    start: str | None,
    weights: Path | None,
    dense: str | None,
    reading: Reading,
    target: float,
    budget: str | None,
    calibration: dict[str, object] | None,
    solver: str | None,
    rounds: int,
    finetune: str,
    recalibrate: int | None,
    recipe_name: str | None,
    evaluation: str | None,
    name: str | None,
    schedule: TrainingChoices,
    run: RunOptions,
) -> None:
    """Prune a dense network, at once or in rounds.

    Every round may be followed by fine-tuning. Interrupted runs continue with the same command.
    --method rd measures first (--budget, --calibration, --solver); bench allocation shows its plan.
    """
    if sum(given is not None for given in (start, weights, dense)) != 1:
        raise click.UsageError("say what to prune: --start ID, --weights FILE or --dense LENGTH")
    settings = _known_settings(method, chosen_settings(budget, calibration, solver))
    from harness.registry import local_pruning
    from harness.training import named_start

    registry = run.registry()
    begin = named_start(start, registry, model, dataset)
    planned = local_pruning(
        registry,
        method=method,
        model=begin.model,
        dataset=begin.dataset,
        start=begin.entry,
        dense=dense,
        target=target,
        rounds=rounds,
        finetune=finetune,
        recalibrate=recalibrate,
        recipe_name=recipe_name,
        evaluation=evaluation or begin.evaluation,
        name=name,
        overrides={**settings, **schedule.overrides},
    )
    from_file = weights or begin.file
    run_training(planned, registry, schedule, run, from_file=from_file, reading=reading)


def _known_settings(method: str, settings: dict[str, object]) -> dict[str, object]:
    """Recipe keys for the settings. Raises UsageError if the method has no such setting."""
    if settings and method in methods.names():
        try:
            known = methods.get(method).Settings.model_fields
        except KeyError as error:  # of a package that is broken
            raise click.UsageError(str(error.args[0])) from error
        unknown = [name for name in settings if name not in known]
        if unknown:
            option = "calibration" if unknown[0].startswith("calibration") else unknown[0]
            raise click.UsageError(
                f"--{option} is for methods that measure, such as rd; {method} has no such setting"
            )
    return {f"settings.{name}": value for name, value in settings.items()}
