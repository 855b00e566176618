"""Options that every training verb shares, and what they turn into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json, print_rich
from harness.commands.printed_plans import print_planned
from harness.commands.run_options import RunOptions
from harness.commands.shared_options import gathered, settings

if TYPE_CHECKING:
    from harness.registry import Entry, Overrides, Recipe, Registry
    from harness.system import Reading
    from harness.training import Training


@dataclass(frozen=True, slots=True)
class TrainingChoices:
    """What the user says about a training run."""

    assignments: tuple[str, ...]
    seeds: int
    fresh: bool
    dry_run: bool
    evaluate_every: int
    channels_last: bool
    compiled: bool
    cuda_graphs: bool
    max_hours: float | None = None
    train_images: int | None = None

    @property
    def overrides(self) -> dict[str, object]:
        """The typed values of --set and --limit. Raises SettingsError for what is not KEY=VALUE."""
        from harness.registry import assigned

        images = {} if self.train_images is None else {"train_images": self.train_images}
        return {**images, **assigned(self.assignments)}


training_options = gathered(
    "schedule",
    TrainingChoices,
    settings(
        "Override a recipe value, e.g. epochs=3, length=500it, optimizer.lr=0.05, "
        "settings.sparsity=0.9 (repeatable; recorded)."
    ),
    click.option(
        "--seeds", type=WholeNumber(1), default=1, show_default=True, help="How many seeds."
    ),
    click.option("--fresh", is_flag=True, help="Repeat finished seeds, forget saved states."),
    click.option("--dry-run", is_flag=True, help="Check all up to the first step, and stop."),
    click.option(
        "--max-hours",
        type=click.FloatRange(0, min_open=True),
        metavar="H",
        help="Save and stop after H hours (exit code 5); the same command goes on.",
    ),
    click.option(
        "--evaluate-every",
        type=WholeNumber(1),
        default=1,
        show_default=True,
        help="Epochs between evaluations; the last epoch is always evaluated.",
    ),
    click.option("--channels-last", is_flag=True, help="NHWC memory layout (recorded)."),
    click.option(
        "--compile", "compiled", is_flag=True, help="torch.compile the network (recorded)."
    ),
    click.option(
        "--cuda-graphs",
        is_flag=True,
        help="Compile; replay the passes as CUDA graphs: for small networks (recorded).",
    ),
)

# Where nothing published is trained again; field `train_images` of the choices.
limit = click.option(
    "--limit",
    "train_images",
    type=WholeNumber(1),
    metavar="N",
    help="Train on N images, evenly spread: a quick trial, and every result says so.",
)


def chosen_training(schedule: TrainingChoices, overrides: Overrides | None = None) -> Training:
    """The harness's view of the options; overrides: of the recipe, already applied."""
    from harness.training import Speed, Training

    return Training(
        seeds=tuple(range(schedule.seeds)),
        fresh=schedule.fresh,
        evaluate_every=schedule.evaluate_every,
        speed=Speed(schedule.channels_last, schedule.compiled, schedule.cuda_graphs),
        overrides=overrides or {},
    )


def run_training(
    planned: tuple[Entry, Recipe, Overrides],
    registry: Registry,
    schedule: TrainingChoices,
    run: RunOptions,
    *,
    from_file: Path | None = None,
    reading: Reading | None = None,
) -> None:
    """Train what was `planned` and print its result; with --dry-run only say what would run."""
    from harness.models import fitted_entry
    from harness.reports import verdict_blocks
    from harness.system import Reading
    from harness.training import dry_run, reproduce_by_training, time_limit

    entry, recipe, changed = planned
    entry = fitted_entry(entry, registry.evaluations[entry.evaluation])
    training = chosen_training(schedule, changed)
    given = run.begun(from_file=from_file, reading=reading or Reading())
    with given as (chosen, listener), time_limit(schedule.max_hours):
        if schedule.dry_run:
            outcome = dry_run(entry, registry, recipe, chosen, training)
        else:
            result = reproduce_by_training(
                entry, registry, recipe, chosen, training, on_result=listener
            )
    if schedule.dry_run:
        raise SystemExit(print_planned([outcome], run.as_json))
    if run.as_json:
        print_json(result)
    else:
        print_rich(verdict_blocks([result]))
