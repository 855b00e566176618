"""bench reproduce"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands import launch_options
from harness.commands import shared_options as options
from harness.commands.launch_options import LaunchChoices
from harness.commands.many_jobs import watched
from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json
from harness.commands.printed_plans import print_planned
from harness.commands.printed_results import exit_status, report
from harness.commands.run_options import RunOptions, recording
from harness.commands.schedule import TrainingChoices, chosen_training, training_options
from harness.commands.visible_text import say_line

if TYPE_CHECKING:
    from harness.evaluation import Listener, Outcome
    from harness.registry import Entry, Registry
    from harness.system import Options, Progress, Reading


@click.command(
    "reproduce",
    epilog="Example:  bench reproduce --suite quickstart      (offline, under a minute)",
)
@click.argument("entry_ids", metavar="[ID]...", nargs=-1, shell_complete=options.complete_ids)
@options.suite
@options.from_file("Checkpoint file downloaded by hand (one ID only).")
@options.reading
@click.option(
    "--mode",
    type=click.Choice(["auto", "eval", "train"]),
    default="auto",
    show_default=True,
    help="auto and eval use the published checkpoint, train follows the recipe; auto trains a "
    "queue such as cpu-week.",
)
@training_options
@click.option("--limit", type=WholeNumber(1), help="N images, evenly spread: a smoke run.")
@click.option("--on", "stand_in", help="Stand-in data set such as imagenet-sample: a smoke run.")
@click.option("--offline", is_flag=True, help="Use only files that are here already.")
@click.option(
    "--resume/--again",
    "resume",
    default=None,
    help="Skip entries on record under the same conditions, or measure them again "
    "(default: a suite resumes, IDs are measured).",
)
@options.evaluation
@launch_options.launched(None)
@recording
def command(
    entry_ids: tuple[str, ...],
    suite: str | None,
    from_file: Path | None,
    reading: Reading,
    mode: str,
    schedule: TrainingChoices,
    limit: int | None,
    stand_in: str | None,
    offline: bool,
    resume: bool | None,
    cache: bool | None,
    fast: bool,
    place: LaunchChoices,
    run: RunOptions,
) -> None:
    """Published against measured, with a verdict and its reason.

    Entries on the same images share one pass over them. One that fails does not stop the others.
    A killed suite goes on with the same command: what is on record with the same entry,
    checkpoint, protocol, images, commit, package versions and machine is not measured again.

    --suite cpu-week is a queue: rows that a CPU can train within days, cheapest first. It stops on
    SIGTERM, Ctrl-C or after --max-hours with everything saved, says what comes next, and goes on
    with the same command; a row whose result is on record is not trained again.

    Without the images, figures that follow from the weights alone are judged, and the accuracy
    waits. Exit code: 0 fine, 3 a verdict is a mismatch or a contradiction, 4 a file or data set is
    missing, a stand-in set was used, or none of several stated preprocessings gives the number.
    """
    registry = run.registry()
    entries = options.chosen_entries(registry, entry_ids, suite, "quickstart")
    mode = "train" if mode == "auto" and suite in registry.queues else mode
    resumed = suite is not None if resume is None else resume
    _refuse_contradictions(entries, from_file, mode, schedule)
    given: dict[str, Any] = {"from_file": from_file, "reading": reading, "limit": limit}
    given |= {"offline": offline, "dataset": stand_in, "fast": fast}
    given["cache"] = options.cache_policy(cache)
    if place.executor is not None and not schedule.dry_run:
        outcomes = _launched(entries, registry, mode, schedule, resumed, place, run, given)
        report(outcomes, run.as_json)
        raise SystemExit(exit_status(outcomes))
    with run.begun(**given) as (chosen, listener):
        if schedule.dry_run:
            raise SystemExit(_dry(entries, registry, chosen, mode, schedule, run.as_json))
        if mode == "train":
            coming = _retrained(entries, registry, chosen, schedule, resumed, listener)
        else:
            from harness.evaluation import reproduce_together

            coming = reproduce_together(
                entries, registry, chosen, resume=resumed, on_result=listener
            )
        outcomes = _followed(coming, entries, chosen.progress)
    report(outcomes, run.as_json)
    raise SystemExit(exit_status(outcomes))


def _refuse_contradictions(
    entries: Sequence[Entry], from_file: Path | None, mode: str, schedule: TrainingChoices
) -> None:
    if from_file is not None and len(entries) > 1:
        raise click.UsageError("--from gives one file; name one ID")
    if schedule.overrides and mode != "train":
        raise click.UsageError("--set changes a training recipe; add --mode train")


def _launched(
    entries: Sequence[Entry],
    registry: Registry,
    mode: str,
    schedule: TrainingChoices,
    resumed: bool,
    place: LaunchChoices,
    run: RunOptions,
    given: dict[str, Any],
) -> list[Outcome]:
    """The outcomes of entries that are jobs of an executor, in the order of `entries`."""
    if given["from_file"] is not None or schedule.fresh or schedule.max_hours is not None:
        raise click.UsageError("--executor goes with none of --from, --fresh and --max-hours")
    from harness.system import Silent

    with watched() as (shown, watching):
        chosen, listener = run.surroundings(Silent(), shown.say, **given)
        workers = place.workers(registry, run.registries, chosen.device, watching)
        if mode == "train":
            coming = workers.retrain_together(
                entries,
                registry,
                chosen,
                chosen_training(schedule),
                schedule.overrides,
                on_result=listener,
            )
        else:
            coming = workers.reproduce_together(
                entries, registry, chosen, resume=resumed, on_result=listener
            )
        done = {outcome.entry.id: outcome for outcome in coming}
    return [done[entry.id] for entry in entries]


def _followed(coming: Iterable[Outcome], entries: Sequence[Entry], bars: Progress) -> list[Outcome]:
    """All outcomes in the order of `entries`; each is printed as it comes if there are several."""
    done: dict[str, Outcome] = {}
    for outcome in coming:
        done[outcome.entry.id] = outcome
        if len(entries) > 1:
            bars.note(f"{len(done)}/{len(entries)} {outcome.entry.id}: {_in_a_word(outcome)}")
    before = sum(outcome.on_record for outcome in done.values())
    if before:
        bars.note(f"{before} of {len(entries)} are on record already; to measure anew: --again")
    return [done[entry.id] for entry in entries]


def _in_a_word(outcome: Outcome) -> str:
    if outcome.result is None:
        return f"cannot check ({type(outcome.error).__name__})"
    status = outcome.result.verdict.status
    if outcome.on_record:
        return f"{status}, on record since {outcome.result.created}"
    return status


def _retrained(
    entries: Sequence[Entry],
    registry: Registry,
    chosen: Options,
    schedule: TrainingChoices,
    resumed: bool,
    listener: Listener,
) -> Iterator[Outcome]:
    from harness.training import retrain_together, time_limit

    training, changed = chosen_training(schedule), schedule.overrides
    with time_limit(schedule.max_hours):
        yield from retrain_together(
            entries, registry, chosen, training, changed, resume=resumed, on_result=listener
        )


def _dry(
    entries: Sequence[Entry],
    registry: Registry,
    chosen: Options,
    mode: str,
    schedule: TrainingChoices,
    as_json: bool,
) -> int:
    """Print what would run; the exit code."""
    if mode == "train":
        from harness.training import dry_runs

        training = chosen_training(schedule)
        planned = dry_runs(entries, registry, chosen, training, schedule.overrides)
        return print_planned(list(planned), as_json)
    from harness.evaluation import planned_evaluations

    evaluations = planned_evaluations(entries, registry, chosen)
    if as_json:
        print_json(evaluations)
        return 0
    for each in evaluations:
        say_line(
            f"{each.entry}: evaluate {each.evaluation}, checkpoint: {each.checkpoint}; "
            f"data {each.data}"
        )
    return 0
