"""bench estimate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import dataset_options, name_options, network_options
from harness.commands import shared_options as options
from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json, print_rich
from harness.commands.run_options import RunOptions, measuring
from harness.system import real_number

DEFAULT_VALUES = "0.8,0.85,0.9,0.92,0.95,0.97,1.0"

if TYPE_CHECKING:
    from harness.system import Reading


@click.command(
    "estimate",
    epilog="Example:  bench estimate --method ftwt --model resnet20 --dataset cifar10 "
    "--start dense-resnet20-cifar10 --images 1000",
)
@name_options.named(
    "--method", required=True, help="Method that can tell beforehand, such as ftwt."
)
@network_options.model(required=True)
@dataset_options.dataset(required=True)
@click.option("--start", help="Registry id of the dense network.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of the dense network, instead of --start.",
)
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
@name_options.named("--evaluation", help="Evaluation protocol (default: of the start entry).")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another setting of the method, e.g. ground_truth=uniform (repeatable).",
)
@measuring
def command(
    method: str,
    model: str,
    dataset: str,
    start: str | None,
    weights: Path | None,
    reading: Reading,
    listed: str,
    images: int,
    evaluation: str | None,
    assignments: tuple[str, ...],
    run: RunOptions,
) -> None:
    """Savings to expect before any training.

    The dense network looks at images, and the method says what it would leave out. A threshold
    estimate assumes perfect gates and the dense network's activations; training moves both.
    """
    if (start is None) == (weights is None):
        raise click.UsageError("say what to look at: either --start ID or --weights FILE")
    values = _numbers(listed)
    registry = run.registry()
    from harness.models import fitted_entry
    from harness.registry import local_entry
    from harness.training import estimate

    if start is not None and evaluation is None:
        evaluation = registry.get(start).evaluation
    entry = local_entry(
        registry,
        method=method,
        model=model,
        dataset=dataset,
        name=f"estimate-{method}-{model}",
        evaluation=evaluation,
        baseline=start,
    )
    entry = fitted_entry(entry, registry.evaluations[entry.evaluation])
    with run.begun(from_file=weights, reading=reading, limit=images) as (chosen, _):
        rows = estimate(entry, registry, _settings(assignments), values, chosen)
    if run.as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name.removesuffix("_pct").replace("_", " "), justify="right")
    for row in rows:
        setting, *percents = row.values()
        table.add_row(f"{setting:g}", *(f"{value:.2f} %" for value in percents))
    print_rich(table)


def _numbers(text: str) -> list[float]:
    try:
        return [real_number(part) for part in text.split(",")]
    except ValueError as error:
        raise click.UsageError(f"--values: {error}; expected numbers such as 0.8,0.9") from error


def _settings(assignments: tuple[str, ...]) -> dict[str, object]:
    """Settings of the method, typed as in YAML; "settings." in front is allowed."""
    from harness.registry import assigned

    return {key.removeprefix("settings."): value for key, value in assigned(assignments).items()}
