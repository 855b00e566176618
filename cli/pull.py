"""bench pull"""

from __future__ import annotations

from pathlib import Path

import click

from cli import options
from cli.output import print_json, progress


@click.command("pull", epilog="Example:  bench pull acdc-resnet50-90 --from ~/Downloads/file.ckpt")
@click.argument("entry_ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "--from",
    "from_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Use this file, downloaded by hand, instead of the links.",
)
@options.data_root
@options.extra_registries
@options.as_json
def command(
    entry_ids: tuple[str, ...],
    from_file: Path | None,
    data_root: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Obtain, verify and convert published checkpoints."""
    from harness.checkpoints import obtain

    if from_file is not None and len(entry_ids) > 1:
        raise click.UsageError("--from gives one file; name one ID")
    registry = options.load_registry(registries)
    entries = [registry.get(entry_id) for entry_id in entry_ids]
    pulled = []
    for entry in entries:
        with progress() as bars:
            obtained = obtain(entry, from_file=from_file, data_root=data_root, progress=bars)
        pulled.append({"id": entry.id, **obtained.provenance()})
        if not as_json:
            click.echo(f"{entry.id}: {obtained.size_bytes:,} bytes, sha256 {obtained.sha256}")
            click.echo(f"  from {obtained.source}, licence: {obtained.license}")
    if as_json:
        print_json(pulled)
