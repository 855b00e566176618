"""bench check"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import launch_options
from harness.commands import shared_options as options
from harness.commands.launch_options import LaunchChoices
from harness.commands.many_jobs import watched
from harness.commands.output import print_json
from harness.commands.run_options import RunOptions, recording
from harness.commands.visible_text import say

if TYPE_CHECKING:
    from harness.maintenance import NightlyRun


@click.command("check", epilog="Example:  bench check --suite nightly --junit nightly.xml")
@click.argument("entry_ids", metavar="[ID]...", nargs=-1, shell_complete=options.complete_ids)
@options.suite
@click.option("--accept", "accepted", metavar="ID", help="Make ID's newest result the standard.")
@click.option("--reason", help="Why it is right, with --accept.")
@click.option("--result", "result_id", help="Another result than the newest, with --accept.")
@click.option("--junit", type=options.FILE, help="Also write JUnit XML here.")
@click.option("--summary", type=options.FILE, help="Also append Markdown here, for a job's page.")
@click.option("--offline", is_flag=True, help="Ask no host: links are not looked at.")
@click.option("--refetch", is_flag=True, help="Fetch large published files again, too.")
@click.option("--fresh", is_flag=True, help="Do not continue an interrupted check.")
@launch_options.launched(None)
@recording
def command(
    entry_ids: tuple[str, ...],
    suite: str | None,
    accepted: str | None,
    reason: str | None,
    result_id: str | None,
    junit: Path | None,
    summary: Path | None,
    offline: bool,
    refetch: bool,
    fresh: bool,
    place: LaunchChoices,
    run: RunOptions,
) -> None:
    """Measure again, and compare with what was accepted.

    Drift is a metric beyond its tolerance, a changed checkpoint, a dead link, or a page in a
    file's place; other versions or machines are printed and fail nothing. Exit code: 0 as accepted,
    3 something drifted, 4 something could not be checked (3 wins). An entry's first full
    evaluation is the standard until --accept names another, with a reason that is kept in
    reports/accepted.jsonl. An interrupted check is continued.
    """
    registry = run.registry()
    if accepted is not None:
        if entry_ids or suite:
            raise click.UsageError("--accept names its entry itself; leave ID and --suite out")
        _accept(registry.get(accepted).id, reason, result_id, run.as_json)
        return
    if reason or result_id:
        raise click.UsageError("--reason and --result belong to --accept ID")
    entries = options.chosen_entries(registry, entry_ids, suite, "nightly")
    from harness.maintenance import nightly_check
    from harness.maintenance import nightly_report as report
    from harness.maintenance import published_files as published
    from harness.system import Silent

    policy = published.LinkPolicy(offline=offline, refetch_all=refetch)
    name = suite or "chosen entries"
    if place.executor is None:
        with run.begun(offline=offline) as (chosen, listener):
            checked = nightly_check(name, entries, registry, chosen, policy, fresh, listener)
    else:
        with watched() as (shown, watching):
            chosen, listener = run.surroundings(Silent(), shown.say, offline=offline)
            workers = place.workers(registry, run.registries, chosen.device, watching)
            measured = workers.reproduce_together
            checked = nightly_check(
                name, entries, registry, chosen, policy, fresh, listener, measured
            )
    _write(checked, junit, summary)
    if run.as_json:
        print_json(report.document(checked))
    else:
        say(report.text(checked))
    raise SystemExit(report.exit_code(checked))


def _accept(entry_id: str, reason: str | None, result_id: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from harness.maintenance import accepted

    if reason is None:
        raise click.UsageError('--accept needs --reason "what changed and why it is right"')
    decision = accepted.accept(entry_id, reason, result_id)
    if as_json:
        print_json(asdict(decision))
    else:
        say(f"{entry_id}: {decision.result_id} is the standard from now on")
        say("Commit reports/accepted.jsonl and the result together.")


def _write(checked: NightlyRun, junit: Path | None, summary: Path | None) -> None:
    from harness.maintenance import nightly_report as report

    if junit is not None:
        junit.parent.mkdir(parents=True, exist_ok=True)
        junit.write_text(report.junit(checked), encoding="utf-8")
    if summary is not None:
        summary.parent.mkdir(parents=True, exist_ok=True)
        with summary.open("a", encoding="utf-8") as page:
            page.write(report.markdown(checked))
