"""bench estimate"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from harness.commands import name_options, network_options
from harness.commands import shared_options as options
from harness.commands.number_types import WholeNumber
from harness.commands.output import plain_table, print_json, print_rich
from harness.commands.run_options import RunOptions, measuring
from harness.system import real_number

DEFAULT_VALUES = "0.8,0.85,0.9,0.92,0.95,0.97,1.0"

if TYPE_CHECKING:
    from harness.export import NetworkName
    from harness.system import Reading


@click.command(
    "estimate",
    epilog="Example:  bench estimate dense-resnet20-cifar10 --method ftwt --images 1000",
)
@name_options.named(
    "--method", required=True, help="Method that can tell beforehand, such as ftwt."
)
@click.argument("entry_id", metavar="[ID]", required=False, shell_complete=options.complete_ids)
@network_options.named
@options.reading
@click.option(
    "--values",
    "--masses",
    "listed",
    default=DEFAULT_VALUES,
    show_default=True,
    help="Values of the method's main setting (ftwt: the mass r), separated by commas.",
)
@click.option(
    "--images",
    type=WholeNumber(1),
    default=1000,
    show_default=True,
    help="Evaluation images to look at, evenly spread; labels are not used.",
)
@name_options.named("--evaluation", help="Evaluation protocol (default: the network's own).")
@options.settings("Another setting of the method, e.g. ground_truth=uniform (repeatable).")
@measuring
def command(
    method: str,
    what: NetworkName,
    reading: Reading,
    listed: str,
    images: int,
    evaluation: str | None,
    assignments: tuple[str, ...],
    run: RunOptions,
) -> None:
    """Savings to expect before any training.

    ID is a dense network: an entry or a run; or --model, --dataset and --weights name a file. It
    looks at images, and the method says what it would leave out. A threshold estimate assumes
    perfect gates and the dense network's activations; training moves both.
    """
    values = _numbers(listed)
    registry = run.registry()
    from harness.export import find_network
    from harness.registry import local_entry
    from harness.training import estimate

    with run.begun(reading=reading, limit=images) as (chosen, _):
        found = find_network(replace(what, evaluation=evaluation), registry, chosen)
        dense = found.entry
        entry = local_entry(
            registry,
            method=method,
            model=dense.model,
            dataset=dense.dataset,
            name=f"estimate-{method}-{dense.model}",
            evaluation=evaluation or dense.evaluation,
        )
        network = found.weights.network
        rows = estimate(entry, network, registry, _settings(assignments), values, chosen)
    if run.as_json:
        print_json(rows)
        return
    heads = [name.removesuffix("_pct").replace("_", " ") for name in rows[0]]
    lines = [
        (f"{setting:g}", *(f"{value:.2f} %" for value in percents))
        for setting, *percents in (row.values() for row in rows)
    ]
    print_rich(plain_table(heads, lines, right=heads))


def _numbers(text: str) -> list[float]:
    try:
        return [real_number(part) for part in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--values: {error}; expected numbers such as 0.8,0.9") from error


def _settings(assignments: tuple[str, ...]) -> dict[str, object]:
    """Settings of the method, typed as in YAML; "settings." in front is allowed."""
    from harness.registry import assigned

    return {key.removeprefix("settings."): value for key, value in assigned(assignments).items()}
