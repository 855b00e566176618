"""bench submit"""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import shared_options as options
from harness.commands.exit_codes import VERDICT
from harness.commands.output import print_json
from harness.commands.visible_text import say_line


@click.command("submit", epilog="Example:  bench submit dense-resnet20-cifar10")
@click.argument("name", metavar="ID", required=False, shell_complete=options.complete_ids)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder of the bundle (default: submission-ID).",
)
@click.option(
    "--verify",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Check a bundle instead, as the workflow of a pull request does.",
)
@options.extra_registries
@options.as_json
def command(
    name: str | None,
    out: Path | None,
    verify: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Bundle a result measured here for a pull request, or check a bundle.

    The bundle holds result, answers per image, protocol, environment and the text. ID is an entry,
    whose results that count are meant, or the id of one result. SHA256SUMS in the bundle has the
    sha256 of every file. Trials, code with uncommitted changes and names that are no entry are
    refused. --verify: exit code 3 if anything is wrong.
    """
    if (name is None) == (verify is None):
        raise click.UsageError("give the ID of what was measured, or --verify FOLDER")
    from harness.maintenance import make_submission, problems_of

    registry = options.load_registry(registries)
    if verify is not None:
        _report(verify, problems_of(verify, registry), as_json)
        return
    assert name is not None
    made = make_submission(name, registry, out or Path(f"submission-{name}"))
    ids = [result.result_id for result in made.results]
    if as_json:
        print_json({"folder": str(made.folder), "text": str(made.text), "results": ids})
        return
    say_line(f"{made.folder}: {', '.join(ids)}")
    say_line(f"Add the folder below submissions/ of a fork; the text is in {made.text}")


def _report(folder: Path, problems: list[str], as_json: bool) -> None:
    if as_json:
        print_json({"folder": str(folder), "problems": problems})
    for problem in () if as_json else problems:
        say_line(f"{folder}: {problem}")
    if problems:
        raise SystemExit(VERDICT)
    if not as_json:
        say_line(f"{folder}: every file and every figure is as it says")
