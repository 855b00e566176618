"""bench allocation"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.commands import network_options
from harness.commands import shared_options as options
from harness.commands.number_types import RealNumber, WholeNumber
from harness.commands.output import console, print_json
from harness.commands.run_options import RunOptions, measuring
from harness.commands.visible_text import say_line
from harness.reports import MISSING

if TYPE_CHECKING:
    from rich.table import Table

    from harness.export import NetworkName
    from harness.results import Result
    from harness.system import Reading
    from harness.training import AllocationComparison

F = TypeVar("F", bound=Callable[..., Any])


class Calibration(click.ParamType):
    """A number of training images, or the word synthetic."""

    name = "calibration"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "N|synthetic"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, object]:
        """The settings that the word stands for."""
        if value == "synthetic":
            return {"calibration": "synthetic"}
        try:
            count = WholeNumber(1).convert(value, param, ctx)
        except click.BadParameter as error:
            self.fail(f"{error.message} Nor is it the word synthetic.", param, ctx)
        return {"calibration": "train", "calibration_size": count}


def budget_options(command: F) -> F:
    """--budget, --calibration, --solver: settings of methods that solve for their layers' rates."""
    for option in (
        click.option(
            "--solver",
            type=click.Choice(["exact", "official", "joint"]),
            help="exact: ours, the default; official: the published program, errors included; "
            "joint: ours, for all layers pruned at once.",
        ),
        click.option(
            "--calibration",
            type=Calibration(),
            help="Training images to measure on (default 1024), or made-up ones.",
        ),
        click.option(
            "--budget",
            type=click.Choice(["weights", "macs"]),
            help="What the target is a share of (default weights).",
        ),
    ):
        command = option(command)
    return command


def chosen_settings(
    budget: str | None, calibration: dict[str, object] | None, solver: str | None
) -> dict[str, object]:
    """Method settings for the options that were given."""
    given = {"budget": budget, "solver": solver}
    return {**{k: v for k, v in given.items() if v is not None}, **(calibration or {})}


@click.command(
    "allocation",
    epilog="Example:  bench allocation dense-convnet-tiny-digits --target 0.9 --plot shares.png",
)
@click.argument("entry_id", metavar="[ID]", required=False, shell_complete=options.complete_ids)
@network_options.named
@click.option(
    "--target",
    type=RealNumber(0, 1, min_open=True, max_open=True),
    help="Share of conv and linear weights to remove (default: what --run removed).",
)
@budget_options
@options.settings("Another setting of method rd, e.g. points=20, reduction=mean (repeatable).")
@click.option("--run", "run_id", metavar="NAME", help="A finished run, as one more column.")
@click.option("--out", "--plot", "plot", type=options.FILE, help="Draw a picture (PNG), too.")
@options.from_file()
@options.reading
@measuring
def command(
    what: NetworkName,
    target: float | None,
    budget: str | None,
    calibration: dict[str, object] | None,
    solver: str | None,
    assignments: tuple[str, ...],
    run_id: str | None,
    plot: Path | None,
    from_file: Path | None,
    reading: Reading,
    run: RunOptions,
) -> None:
    """Layer rates chosen by rate-distortion and four other rules.

    ID is a dense network, or --model and --weights name one of your own. Its distortion curves are
    measured once and kept; an interrupted measurement goes on with the same command.
    --run shows what a finished run left.
    """
    from harness.registry import assigned

    registry = run.registry()
    finished = _finished(run_id) if run_id else None
    if target is None and finished is None:
        raise click.UsageError("say how much to remove: --target 0.9")
    settings = {**chosen_settings(budget, calibration, solver), **assigned(assignments)}
    from harness.export import find_network
    from harness.training import allocate

    share = target if target is not None else finished.cost.sparsity_pct / 100  # type: ignore[union-attr]
    with run.begun(from_file=from_file, reading=reading) as (chosen, _):
        found = find_network(what, registry, chosen)
        network = found.weights.network.to(chosen.device)
        comparison = allocate(found.entry, network, registry, chosen, share, settings, finished)
    if plot is not None:
        from harness.reports import allocation_plot

        allocation_plot(comparison, plot)
    if run.as_json:
        print_json(_document(comparison))
        return
    console().print(_table(comparison))
    for column in comparison.columns:
        if column.kept is None:
            say_line(f"{column.label}: {column.reason}")
    if plot is not None:
        say_line(f"picture: {plot}")


def _finished(name: str) -> Result:
    """The latest result of a pruned or trained run. Raises UsageError if there is none."""
    from harness.results import load_all

    found = [result for result in load_all(entry=name) if result.mode in ("trained", "pruned")]
    if not found:
        raise click.UsageError(f"no finished run is called {name!r}; names: bench table")
    return found[-1]


def _table(comparison: AllocationComparison) -> Table:
    """Share removed per layer in %, then totals."""
    from rich.table import Table

    columns = comparison.columns
    title = f"{comparison.network}: weights removed per layer, %"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    table.add_column("layer", overflow="fold")
    for head in ("weights", *(column.label for column in columns)):
        table.add_column(head, justify="right", overflow="fold")
    rates = [c.kept and comparison.rates_pct(c.kept) for c in columns]
    for i, name in enumerate(comparison.layers):
        shares = [MISSING if rate is None else f"{rate[i]:.2f}" for rate in rates]
        table.add_row(name, f"{comparison.sizes[i]:,}", *shares)
    kept = [column.kept for column in columns]
    dense = sum(comparison.macs)
    table.add_row(
        "all layers",
        f"{sum(comparison.sizes):,}",
        *(MISSING if k is None else f"{comparison.sparsity_pct(k):.2f}" for k in kept),
        style="bold",
    )
    table.add_row(
        "MACs removed",
        f"{dense:,}",
        *(
            MISSING if k is None else f"{100 - 100 * comparison.macs_left(k) / dense:.2f}"
            for k in kept
        ),
        style="bold",
    )
    return table


def _document(comparison: AllocationComparison) -> dict[str, object]:
    """Unrounded counts, ready for JSON."""
    shown = {column.label: column for column in comparison.columns}
    return {
        "network": comparison.network,
        "target": comparison.target,
        "layers": [
            {
                "name": name,
                "weights": comparison.sizes[i],
                "macs_dense": comparison.macs[i],
                "kept": {label: column.kept and column.kept[i] for label, column in shown.items()},
            }
            for i, name in enumerate(comparison.layers)
        ],
        "rules": {
            label: {"cannot": column.reason}
            if column.kept is None
            else {
                "sparsity_pct": comparison.sparsity_pct(column.kept),
                "macs_effective": comparison.macs_left(column.kept),
            }
            for label, column in shown.items()
        },
    }
