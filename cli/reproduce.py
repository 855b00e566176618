"""bench reproduce"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import CANNOT_CHECK, VERDICT, exit_code, options
from cli.output import Bars, Lines, print_json, print_rich, progress
from cli.schedule import announce, chosen_training, overrides_from, training_options
from harness.errors import BenchError, Preempted, ProtocolError

if TYPE_CHECKING:
    from harness.recipes import Override, Recipe
    from harness.registry import Entry, Registry
    from harness.reproduction import Options
    from harness.results import Result
    from harness.training import Training


@click.command(
    "reproduce",
    epilog="Example:  bench reproduce --suite quickstart      (offline, under a minute)",
)
@click.argument("entry_ids", metavar="[ID]...", nargs=-1, shell_complete=options.complete_ids)
@click.option("--suite", help="All entries of a suite (quickstart, nightly, ...).")
@click.option(
    "--from",
    "from_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Checkpoint file downloaded by hand (one ID only).",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "eval", "train"]),
    default="auto",
    show_default=True,
    help="auto and eval use the published checkpoint; train follows the recipe.",
)
@training_options
@click.option("--limit", type=click.IntRange(1), help="N images, evenly spread: a smoke run.")
@click.option("--on", "stand_in", help="Stand-in data set such as imagenet-sample: a smoke run.")
@click.option("--offline", is_flag=True, help="Use only files that are here already.")
@options.device
@options.data_root
@options.tracking
@options.extra_registries
@options.as_json
def command(
    entry_ids: tuple[str, ...],
    suite: str | None,
    from_file: Path | None,
    mode: str,
    assignments: tuple[str, ...],
    seeds: int,
    fresh: bool,
    dry_run: bool,
    evaluate_every: int,
    channels_last: bool,
    compiled: bool,
    limit: int | None,
    stand_in: str | None,
    offline: bool,
    device: str,
    data_root: Path | None,
    tracking_uri: str | None,
    no_tracking: bool,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Published against measured, with a verdict and its reason.

    Exit code: 0 fine, 3 a verdict is a mismatch or a contradiction, 4 a file or data set is
    missing. An entry that fails does not stop the others.
    """
    registry = options.load_registry(registries)
    entries = _entries(registry, entry_ids, suite)
    if from_file is not None and len(entries) > 1:
        raise click.UsageError("--from gives one file; name one ID")
    overrides = overrides_from(assignments)
    if overrides and mode != "train":
        raise click.UsageError("--set changes a training recipe; add --mode train")
    if dry_run:
        for entry in entries:
            _announce(entry, registry, mode, overrides, seeds)
        return
    from harness.reproduction import Options

    torch_device = options.pick_device(device)
    done: list[Result] = []
    failed: list[tuple[Entry, BenchError]] = []
    with progress() as bars:
        chosen = Options(
            device=torch_device,
            data_root=data_root,
            from_file=from_file,
            limit=limit,
            offline=offline,
            dataset=stand_in,
            progress=bars,
        )
        for entry in entries:
            try:
                if mode == "train":
                    recipe, changed = recipe_for(entry, registry, overrides)
                    training = chosen_training(
                        seeds, fresh, evaluate_every, channels_last, compiled, changed
                    )
                    done.append(_by_training(entry, registry, recipe, chosen, training))
                else:
                    done.append(_by_evaluation(entry, registry, chosen))
            except Preempted:
                raise
            except BenchError as error:
                failed.append((entry, error))
        if not no_tracking:
            mirror_all(done, tracking_uri, bars)
    _report(done, failed, as_json)
    raise SystemExit(_exit_status(done, failed))


def _entries(registry: Registry, ids: tuple[str, ...], suite: str | None) -> list[Entry]:
    if not ids and suite is None:
        raise click.UsageError("name at least one ID, or --suite quickstart")
    chosen = [registry.get(entry_id) for entry_id in ids]
    chosen += registry.suite(suite) if suite else ()
    return list({entry.id: entry for entry in chosen}.values())


def _by_evaluation(entry: Entry, registry: Registry, chosen: Options) -> Result:
    from harness.reproduction import reproduce_by_evaluation

    return reproduce_by_evaluation(entry, registry, chosen)


def _by_training(
    entry: Entry, registry: Registry, recipe: Recipe, chosen: Options, training: Training
) -> Result:
    from harness.training import reproduce_by_training

    return reproduce_by_training(entry, registry, recipe, chosen, training)


def recipe_for(
    entry: Entry, registry: Registry, overrides: dict[str, str]
) -> tuple[Recipe, tuple[Override, ...]]:
    """The entry's recipe with the user's changes. Raises ProtocolError if it has none."""
    from harness.recipes import with_overrides

    if entry.recipe is None:
        msg = f"{entry.id}: no training protocol is known. What is known: bench show {entry.id}"
        raise ProtocolError(msg)
    return with_overrides(registry.recipes[entry.recipe], overrides)


def _announce(
    entry: Entry, registry: Registry, mode: str, overrides: dict[str, str], seeds: int
) -> None:
    if mode == "train":
        announce(entry, *recipe_for(entry, registry, overrides), seeds, registry)
        return
    from harness.checkpoints import status

    click.echo(f"{entry.id}: evaluate {entry.evaluation}, checkpoint: {status(entry)}")


def mirror_all(results: list[Result], uri: str | None, bars: Bars | Lines) -> None:
    """Mirror results into MLflow; the first problem is noted and ends the attempt.

    Under torchrun the first process does it for all.
    """
    from harness.tracking import mirror

    if os.environ.get("RANK", "0") != "0":
        return
    for result in results:
        problem = mirror(result, uri)
        if problem:
            bars.note(problem)
            return


def _report(done: list[Result], failed: list[tuple[Entry, BenchError]], as_json: bool) -> None:
    for _, error in failed:
        click.echo(f"bench: {error}", err=True)
    if as_json:
        documents: list[dict[str, Any]] = [r.model_dump(mode="json") for r in done]
        print_json(documents + [_cannot_check(entry, error) for entry, error in failed])
    elif done:
        from harness.reports.tables import verdict_blocks

        print_rich(verdict_blocks(done))


def _cannot_check(entry: Entry, error: BenchError) -> dict[str, Any]:
    return {
        "entry": entry.id,
        "verdict": {"status": "cannot check", "reason": str(error)},
        "error": type(error).__name__,
    }


def _exit_status(done: list[Result], failed: list[tuple[Entry, BenchError]]) -> int:
    from harness.verdict import failed as is_failure

    if any(is_failure(result.verdict.status) for result in done):
        return VERDICT
    if any(result.verdict.status == "cannot check" for result in done):
        return CANNOT_CHECK
    return max((exit_code(error) for _, error in failed), default=0)
