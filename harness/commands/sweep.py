"""bench sweep"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import dataset_options, launch_options, name_options, network_options
from harness.commands import shared_options as options
from harness.commands.config_file import config
from harness.commands.exit_codes import CANNOT_CHECK
from harness.commands.launch_options import LaunchChoices
from harness.commands.many_jobs import watched
from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json, print_rich
from harness.commands.printed_sweep import sweep_document, sweep_grid, sweep_table
from harness.commands.run_options import RunOptions, recording
from harness.commands.visible_text import say_line

if TYPE_CHECKING:
    from harness.launch import Context, Sweep, SweepPlan, SweepRow

SEVERAL = "several separated by commas"


@click.command(
    "sweep",
    epilog="Example:  bench sweep --method gmp,magnitude --model convnet_tiny --dataset digits "
    "--levels paper --seeds 3",
)
@config
@name_options.named("--method", "method", required=True, help=f"Pruning methods, {SEVERAL}.")
@name_options.named("--model", required=True, help=f"Networks, {SEVERAL}, or code of your own.")
@name_options.named("--dataset", required=True, help=f"Data sets, {SEVERAL}.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=V1,V2",
    help="Values that a setting takes, e.g. settings.sparsity=0.5,0.9 or optimizer.lr=0.1,0.05; "
    "for one method alone: str:settings.s_init=-8,-6 (repeatable).",
)
@click.option("--levels", metavar="PRESET", help="Standard sparsities: paper = 50 to 98 %.")
@click.option("--seeds", type=WholeNumber(1), default=1, show_default=True, help="Seeds per cell.")
@click.option("--start", help="Entry that one-shot methods prune (default: a dense training).")
@click.option("--finetune", help='After pruning: "2ep" (default: as the data set\'s recipe says).')
@click.option("--rounds", type=WholeNumber(1), default=1, show_default=True, help="Of pruning.")
@name_options.named("--recipe", "recipe", help="Training protocol (default: the data set's own).")
@name_options.named("--evaluation", help="Evaluation protocol (default: the data set's own).")
@click.option("--limit", type=WholeNumber(1), metavar="N", help="Train on N images: a trial.")
@click.option("--name", help="Name of the sweep (default: from the grid).")
@click.option(
    "--out",
    "--plot",
    "plot",
    type=options.FILE,
    help="Picture of accuracy against sparsity, a line per method, .png or .svg.",
)
@click.option("--dry-run", is_flag=True, help="Show the grid and what it costs, and stop.")
@launch_options.launched("local")
@recording
def command(
    method: str,
    model: str,
    dataset: str,
    assignments: tuple[str, ...],
    levels: str | None,
    seeds: int,
    start: str | None,
    finetune: str | None,
    rounds: int,
    recipe: str | None,
    evaluation: str | None,
    limit: int | None,
    name: str | None,
    plot: Path | None,
    dry_run: bool,
    place: LaunchChoices,
    run: RunOptions,
) -> None:
    """Train a grid of methods, settings, networks and data sets.

    Every cell is one result over its seeds. Methods that prune a trained network share one dense
    training per seed. The grid and what it costs are shown first. The same command goes on where
    a killed one ended; what failed is tried again, what is done is not. Exit code: 0 fine, 4 a
    cell failed (the others are done), 5 stopped by a signal.
    """
    from harness.launch import Grid, GridAxis, SweepPlan, level_axes
    from harness.training import Training

    models = [network_options.resolved(each) for each in _several(model)]
    trial = (GridAxis("train_images", (limit,)),) if limit is not None else ()
    grid = Grid(
        _several(method),
        tuple(models),
        tuple(dataset_options.named(each) for each in _several(dataset)),
        (*level_axes(levels, [GridAxis.parse(text) for text in assignments]), *trial),
        tuple(range(seeds)),
    )
    plan = SweepPlan(
        grid=grid,
        training=Training(),
        recipe=recipe,
        evaluation=evaluation,
        start=start,
        finetune=finetune,
        rounds=rounds,
        name=name,
    )
    _sweep(plan, _several(model), dry_run, plot, place, run)


def _sweep(
    plan: SweepPlan,
    typed: Sequence[str],
    dry_run: bool,
    plot: Path | None,
    place: LaunchChoices,
    run: RunOptions,
) -> None:
    from harness.launch import estimate_cost, plan_sweep, run_sweep
    from harness.system import Silent

    registry = run.registry()
    with watched() as (shown, watching):
        chosen, _ = run.surroundings(Silent(), shown.say)
        context = _context(plan, typed, place, run, chosen.device)
        sweep = plan_sweep(plan, chosen, context)
        cost = estimate_cost([cell.request for cell in sweep.cells], registry)
        for line in sweep_grid(sweep, cost):
            shown.say(line)
        if dry_run:
            rows = None
        else:
            listener = run.listener(shown.say, sweep.name)
            rows = run_sweep(sweep, place.launch(chosen.device), watching, listener)
    if rows is None:
        if run.as_json:
            print_json(sweep_document(sweep, cost))
        return
    if run.as_json:
        print_json([row.as_plain() for row in rows])
    else:
        print_rich(sweep_table(rows))
    _draw(sweep, rows, plot)
    raise SystemExit(CANNOT_CHECK if any(row.result is None for row in rows) else 0)


def _context(
    plan: SweepPlan, typed: Sequence[str], place: LaunchChoices, run: RunOptions, device: str
) -> Context:
    from harness.launch import Context, default_resources
    from harness.models import is_own_code
    from harness.registry import evaluation_on

    registry = run.registry()
    code = tuple(name for name in typed if is_own_code(name))
    evaluation = evaluation_on(registry, plan.grid.datasets[0], plan.evaluation)
    resources = place.resources(default_resources(evaluation, device))
    return Context(registry, run.registries, code, resources)


def _draw(sweep: Sweep, rows: Sequence[SweepRow], target: Path | None) -> None:
    """The curve of every method, if somebody asked for it."""
    results = [row.result for row in rows if row.result is not None]
    if target is None or not results:
        return
    from harness.reports import AXES, Picture, draw_tradeoff, plot_points, row

    axis = AXES["sparsity"]
    found = plot_points([row(result) for result in results], axis, partial=True)
    picture = Picture(f"Accuracy and sparsity: {sweep.name}", labels="none", joined=True)
    written = draw_tradeoff(found, axis, picture, target)
    say_line(f"{written}: {len(results)} cells", err=True)


def _several(typed: str) -> tuple[str, ...]:
    """Names separated by commas, commas in brackets apart; each once."""
    import re

    parts = re.split(r",(?![^(\[]*[)\]])", typed)
    names = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not names:
        raise click.UsageError(f"{typed!r} names nothing")
    return names
