"""bench pull"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.exit_codes import CANNOT_CHECK
from harness.commands.output import print_json
from harness.commands.run_options import RunOptions, reading_weights
from harness.commands.visible_text import say_line, say_problem
from harness.errors import CheckpointError

if TYPE_CHECKING:
    from harness.system import Reading


@click.command(
    "pull", epilog="Example:  bench pull dense-resnet20-cifar10      (by hand: --from FILE)"
)
@click.argument(
    "entry_ids", metavar="ID...", nargs=-1, required=True, shell_complete=options.complete_ids
)
@options.from_file("Use this file, downloaded by hand, instead of the links.")
@options.reading
@reading_weights
def command(
    entry_ids: tuple[str, ...],
    from_file: Path | None,
    reading: Reading,
    run: RunOptions,
) -> None:
    """Obtain, verify and convert published checkpoints.

    What is here already is verified again and not fetched. An ID that fails does not stop the
    others.
    """
    from harness.checkpoints import obtain_together

    if from_file is not None and len(entry_ids) > 1:
        raise click.UsageError("--from gives one file; name one ID")
    registry = run.registry()
    entries = [registry.get(entry_id) for entry_id in dict.fromkeys(entry_ids)]
    pulled: list[dict[str, object]] = []
    failed: list[CheckpointError] = []
    with run.begun(from_file=from_file, reading=reading) as (chosen, _):
        for _, got in obtain_together(entries, chosen):
            if isinstance(got, CheckpointError):
                failed.append(got)
            else:
                pulled.append({**got.provenance(), "path": str(got.path)})
    if run.as_json:
        print_json(pulled)
    else:
        for facts in pulled:
            say_line(f"{facts['id']}: {facts['size_bytes']:,} bytes, sha256 {facts['sha256']}")
            say_line(f"  from {facts['source']}, licence: {facts['license']}")
            say_line(f"  plain state dict: {facts['path']}")
    for problem in failed:
        say_problem(problem)
    raise SystemExit(CANNOT_CHECK if failed else 0)
