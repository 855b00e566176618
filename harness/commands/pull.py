"""bench pull"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.exit_codes import CANNOT_CHECK
from harness.commands.output import print_json, progress
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
@click.option(
    "--from",
    "from_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Use this file, downloaded by hand, instead of the links.",
)
@options.reading
@options.data_root
@options.extra_registries
@options.as_json
def command(
    entry_ids: tuple[str, ...],
    from_file: Path | None,
    reading: Reading,
    data_root: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Obtain, verify and convert published checkpoints.

    What is here already is verified again and not fetched. An ID that fails does not stop the
    others.
    """
    from harness.checkpoints import obtain_together
    from harness.system import Options

    if from_file is not None and len(entry_ids) > 1:
        raise click.UsageError("--from gives one file; name one ID")
    registry = options.load_registry(registries)
    entries = [registry.get(entry_id) for entry_id in dict.fromkeys(entry_ids)]
    pulled: list[dict[str, object]] = []
    failed: list[CheckpointError] = []
    with progress() as bars:
        chosen = Options(data_root=data_root, from_file=from_file, reading=reading, progress=bars)
        for _, got in obtain_together(entries, chosen):
            if isinstance(got, CheckpointError):
                failed.append(got)
            else:
                pulled.append({**got.provenance(), "path": str(got.path)})
    if as_json:
        print_json(pulled)
    else:
        for facts in pulled:
            say_line(f"{facts['id']}: {facts['size_bytes']:,} bytes, sha256 {facts['sha256']}")
            say_line(f"  from {facts['source']}, licence: {facts['license']}")
            say_line(f"  plain state dict: {facts['path']}")
    for problem in failed:
        say_problem(problem)
    raise SystemExit(CANNOT_CHECK if failed else 0)
