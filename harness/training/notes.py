"""What a result says of its training, for readers of tables."""

from __future__ import annotations

from pathlib import Path

from harness.protocols.distributed import world_size
from harness.registry import LOCAL, Entry
from harness.registry.recipes import Override, PruneRounds, Recipe
from harness.training.start_weights import Start


def changed_schedule(
    entry: Entry, overrides: tuple[Override, ...], start: Start | None, from_file: Path | None
) -> str:
    """Why a run is no judgement; "" if it is.

    A changed recipe cannot confirm or refute a paper; a user's own run is what it is.
    """
    if entry.paper == LOCAL:
        return ""
    changes = [f"{change.key}={change.value} (recipe: {change.was})" for change in overrides]
    if start is not None and from_file is not None:
        changes.append(f"started from {start.name}")
    return f"changed recipe: {', '.join(changes)}" if changes else ""


# A changed length is said wherever the result is shown: a short schedule is not the protocol.
_LENGTHS = ("length", "prune.finetune", "settings.batches_per_epoch")


def _recipes(change: Override) -> str:
    return "all" if change.was is None else f"the recipe's {change.was}"


def _amount(rounds: PruneRounds) -> str:
    return "prune as set" if rounds.amount is None else f"prune {rounds.amount:g}"


def training_notes(
    recipe: Recipe, overrides: tuple[Override, ...], start: Start | None
) -> tuple[str, ...]:
    """Sentences about how a result was trained, in the order of the procedure."""
    notes = [f"trained {recipe.length} with {recipe.name}"] if recipe.length.count else []
    if recipe.prune:
        rounds = recipe.prune
        notes.append(f"{rounds.count} x ({_amount(rounds)}, fine-tune {rounds.finetune})")
    notes += [
        f"{change.key} {change.value} instead of {_recipes(change)}"
        for change in overrides
        if change.key in _LENGTHS and change.value != change.was
    ]
    if start is not None:
        notes.append(f"started from {start.name} (sha256 {start.facts.sha256[:12]})")
    if recipe.validation_frac:
        share = f"{100 * recipe.validation_frac:g} %"
        notes.append(f"{share} of the training images, drawn by seed, held back: never trained on")
    if recipe.selects == "best":
        notes.append("the source prints its best epoch on the test set; here the last epoch counts")
    if world_size() > 1:
        notes.append(f"{world_size()} processes")
    if recipe.specified_by == "assumed":
        notes.append(f"assumed: {recipe.note}")
    return tuple(notes)
