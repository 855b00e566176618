"""bench push"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import network_options, run_options
from harness.commands import shared_options as options
from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json
from harness.commands.visible_text import say_line

if TYPE_CHECKING:
    from harness.commands.run_options import RunOptions
    from harness.export import NetworkName
    from harness.system import Reading


@click.command("push", epilog="Example:  bench push dense-convnet-tiny-digits --out card")
@click.argument("entry_id", metavar="[ID]", required=False, shell_complete=options.complete_ids)
@network_options.named
@options.reading
@click.option("--to", "repository", metavar="ORG/NAME", help="Upload to this repository.")
@click.option("--private", is_flag=True, help="A new repository is private.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder (default: hub-ID).",
)
@click.option("--seed", type=WholeNumber(0), help="Our own training: which seed (default 0).")
@click.option("--offline", is_flag=True, help="Use only files that are here already.")
@run_options.reading_weights
def command(
    what: NetworkName,
    reading: Reading,
    repository: str | None,
    private: bool,
    out: Path | None,
    seed: int | None,
    offline: bool,
    run: RunOptions,
) -> None:
    """Write a network with its card for a model hub, and upload it.

    The folder holds weights, card and the result that counts. The card tells what was measured, the
    verdict, how to load the weights and how to prepare a picture. Without --to nothing leaves this
    machine. --to needs a token of the Hugging Face hub (hf auth login) and weights whose licence is
    stated.
    """
    from harness.export import find_network, require_repository, upload, write_hub_folder

    if repository is not None:
        require_repository(repository)
    registry = run.registry()
    with run.begun(offline=offline, reading=reading) as (wanted, _):
        found = find_network(replace(what, seed=seed), registry, wanted)
    target = out or Path(f"hub-{found.weights.name}")
    evaluation = registry.evaluations[found.entry.evaluation]
    written = write_hub_folder(found, evaluation, registry.aliases, target, repository)
    address = upload(written, repository, private=private) if repository else None
    if run.as_json:
        result_id = written.result.result_id if written.result else None
        print_json({"folder": str(target), "address": address, "result_id": result_id})
    else:
        say_line(address or f"{target}: weights, card" + (", result" if written.result else ""))
