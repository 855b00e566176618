"""bench runs"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from harness.commands import launch_options
from harness.commands import shared_options as options
from harness.commands.launch_options import LaunchChoices
from harness.commands.many_jobs import watched
from harness.commands.number_types import RealNumber
from harness.commands.output import console, print_json, print_labelled, print_rich
from harness.commands.printed_runs import details, runs_table
from harness.commands.run_options import RunOptions, recording
from harness.commands.visible_text import say_line

if TYPE_CHECKING:
    from harness.launch import RunStatus

STATES = ("queued", "running", "preempted", "failed", "done")
LIVE_S = 2.0  # between two looks


@click.group("runs", invoke_without_command=True)
@click.option("--state", type=click.Choice(STATES), help="Only runs in this state.")
@click.option("--live", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@options.as_json
@click.pass_context
def command(context: click.Context, state: str | None, live: bool, as_json: bool) -> None:
    """Every run: state, progress, place; resume, cancel, delete.

    Without a command: a table of all, those from before and of other commands included.
    Example:  bench runs --state running
    """
    if context.invoked_subcommand is not None:
        return
    if as_json:
        print_json([asdict(run) for run in _chosen(state)])
    elif live and console().is_terminal:
        _show_live(state)
    else:
        print_rich(runs_table(_chosen(state)))


@command.command(
    "show", epilog="Example:  bench runs show local-gmp-convnet-tiny-digits-0.9/1a2b3c4d5e6f-seed0"
)
@click.argument("run_id", metavar="ID")
@options.as_json
def show(run_id: str, as_json: bool) -> None:
    """Everything about one run: what was asked for, how far it is, why it failed."""
    from harness.launch import find_run

    run = find_run(run_id)
    if as_json:
        print_json(details(run))
    else:
        from rich.text import Text

        rows = [(Text(name), _plain(value)) for name, value in details(run).items()]
        print_labelled(rows)


@command.command("resume", epilog="Example:  bench runs resume sweep-1a2b3c4d --executor local")
@click.argument("name", metavar="ID|QUEUE")
@launch_options.launched("local")
@recording
def resume(name: str, place: LaunchChoices, run: RunOptions) -> None:
    """Take up a run, or everything of a queue that is not done.

    Runs of code of one's own are taken up by the command that began them: no file names code that
    is imported. Exit code: 0 done, 4 something failed, 5 stopped by a signal.
    """
    from harness.commands.exit_codes import CANNOT_CHECK
    from harness.launch import resume as take_up
    from harness.system import Silent

    with watched() as (shown, watching):
        chosen, listener = run.surroundings(Silent(), shown.say)
        endings = take_up(name, place.launch(chosen.device), watching, listener)
    failed = [ending for ending in endings if ending.state == "failed"]
    if run.as_json:
        print_json([asdict(ending) for ending in endings])
    else:
        say_line(f"{name}: {len(endings) - len(failed)} of {len(endings)} jobs are done")
    raise SystemExit(CANNOT_CHECK if failed else 0)


@command.command("cancel", epilog="Example:  bench runs cancel sweep-1a2b3c4d")
@click.argument("name", metavar="ID|QUEUE")
@options.as_json
def cancel(name: str, as_json: bool) -> None:
    """Stop a run, or a whole queue; its state is saved, and resume goes on.

    A run of a queue at work is left out of it; the others go on.
    """
    from harness.launch import cancel as stop

    said = stop(name)
    print_json({"name": name, "done": said}) if as_json else say_line(f"{name}: {said}")


@command.command("delete", epilog="Example:  bench runs delete sweep-1a2b3c4d")
@click.argument("name", metavar="ID|QUEUE")
@options.as_json
def delete(name: str, as_json: bool) -> None:
    """Remove a run's folder or a queue's; stored results stay."""
    from harness.launch import delete as remove

    freed = remove(name)
    if as_json:
        print_json({"name": name, "bytes": freed})
    else:
        say_line(f"{name}: deleted, {freed:,} bytes; stored results stay")


@command.command("prune", epilog="Example:  bench runs prune --older-than 30 --dry-run")
@click.option(
    "--older-than",
    "days",
    type=RealNumber(0),
    default=30.0,
    show_default=True,
    metavar="DAYS",
    help="Only what nothing has touched for so many days.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and stop.")
@options.as_json
def prune(days: float, dry_run: bool, as_json: bool) -> None:
    """Delete runs that stopped before their end long ago; finished ones stay."""
    from harness.launch import delete as remove
    from harness.launch import leftovers

    found = leftovers(days)
    freed = sum(run.bytes for run in found) if dry_run else sum(remove(run.id) for run in found)
    if as_json:
        print_json({"runs": [run.id for run in found], "bytes": freed, "deleted": not dry_run})
        return
    for run in found:
        say_line(run.id)
    done = "would be deleted" if dry_run else "deleted"
    say_line(f"{len(found)} unfinished runs {done}, {freed:,} bytes")


def _chosen(state: str | None) -> list[RunStatus]:
    from harness.launch import all_runs

    return [run for run in all_runs() if state in (None, run.state)]


def _show_live(state: str | None) -> None:
    from rich.live import Live

    try:
        with Live(runs_table(_chosen(state)), console=console(), auto_refresh=False) as live:
            while True:
                time.sleep(LIVE_S)
                live.update(runs_table(_chosen(state)), refresh=True)
    except KeyboardInterrupt:
        return


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return str(value)
