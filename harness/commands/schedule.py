"""Options that every training verb shares, and what they turn into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json, print_rich
from harness.commands.run_options import RunOptions
from harness.commands.shared_options import gathered
from harness.commands.visible_text import say_line

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
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="Override a recipe value, e.g. epochs=3, length=500it, optimizer.lr=0.05, "
        "settings.sparsity=0.9 (repeatable; recorded).",
    ),
    click.option(
        "--seeds", type=WholeNumber(1), default=1, show_default=True, help="How many seeds."
    ),
    click.option("--fresh", is_flag=True, help="Repeat finished seeds, forget saved states."),
    click.option("--dry-run", is_flag=True, help="Say what would run, and stop."),
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
        speed=Speed(channels_last=schedule.channels_last, compile=schedule.compiled),
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

    entry, recipe, changed = planned
    entry = fitted_entry(entry, registry.evaluations[entry.evaluation])
    if schedule.dry_run:
        announce(entry, recipe, changed, schedule.seeds, registry, from_file)
        return
    from harness.reports import verdict_blocks
    from harness.system import Reading
    from harness.training import reproduce_by_training, time_limit

    given = run.begun(from_file=from_file, reading=reading or Reading())
    with given as (chosen, listener), time_limit(schedule.max_hours):
        training = chosen_training(schedule, changed)
        result = reproduce_by_training(
            entry, registry, recipe, chosen, training, on_result=listener
        )
    if run.as_json:
        print_json(result)
    else:
        print_rich(verdict_blocks([result]))


def announce(
    entry: Entry,
    recipe: Recipe,
    changed: Overrides,
    seeds: int,
    registry: Registry,
    from_file: Path | None = None,
) -> None:
    """Print what would run, the training of a start network that has to come first included."""
    from harness.registry import merged_settings
    from harness.training import start_entry, trained_first, training_cost

    source = None if from_file else start_entry(entry, recipe, registry)
    start = f"file {from_file.name}" if from_file else "random initialisation"
    rows = {
        "entry": entry.id,
        "method": f"{entry.method} {dict(merged_settings(entry, recipe, changed))}",
        "model": f"{entry.model} on {entry.dataset}",
        "recipe": f"{recipe.name} v{recipe.version}: {recipe.length}, batch {recipe.batch}",
        "optimizer": f"{recipe.optimizer.name}, lr {recipe.optimizer.lr:g}",
        "start": source.id if source else start,
        "seeds": str(seeds),
        "cost": training_cost(entry, registry, recipe, seeds).sentence,
    }
    if recipe.prune:
        rounds = recipe.prune
        amount = "as set" if rounds.amount is None else f"{rounds.amount:g}"
        rows["rounds"] = f"{rounds.count} x (prune {amount}, then {rounds.finetune})"
    if source and source.recipe and trained_first(source):
        first = registry.recipes[source.recipe]
        rows["first"] = f"train {source.id}: {first.name}, {first.length}, then its {first.selects}"
        rows["first"] += " epoch (unless finished before)"
    if recipe.specified_by == "assumed":
        rows["assumed"] = recipe.note
    for name, value in rows.items():
        say_line(f"{name:<10} {value}")
