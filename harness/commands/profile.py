"""bench profile"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import network_options
from harness.commands import shared_options as options
from harness.commands.output import console, plain_table, print_json
from harness.commands.run_options import RunOptions, reading_weights
from harness.commands.visible_text import say

if TYPE_CHECKING:
    from rich.table import Table

    from harness.export import NetworkName
    from harness.results import Cost
    from harness.system import Reading


@click.command("profile", epilog="Example:  bench profile dense-resnet20-cifar10")
@click.argument("entry_id", metavar="[ID]", required=False, shell_complete=options.complete_ids)
@network_options.named
@click.option("--dense", is_flag=True, help="Profile the architecture without its checkpoint.")
@options.from_file()
@options.reading
@reading_weights
def command(
    what: NetworkName,
    dense: bool,
    from_file: Path | None,
    reading: Reading,
    run: RunOptions,
) -> None:
    """Parameters, zeros and MACs per layer.

    ID is a registry entry or the name of a run (of code of your own: with its --model). --model and
    --dataset profile a network of one's own, with fresh weights where no --weights are given.

    Weights are all kernels and matrices, attention's included, tied ones once; what is outside is
    listed below with its share. One MAC is one multiply-accumulate; effective MACs are the dense
    ones times the layer's density.
    """
    registry = run.registry()
    from harness.checkpoints import build_model
    from harness.export import find_network
    from harness.profile import measure_cost
    from harness.registry import input_shape

    with run.begun(from_file=from_file, reading=reading) as (chosen, _):
        if dense and what.word is not None:
            entry = registry.get(what.word)
            model = build_model(entry)
        else:
            found = find_network(what, registry, chosen, fresh=True)
            entry, model = found.entry, found.weights.network
        cost = measure_cost(
            model,
            input_shape(registry.evaluations[entry.evaluation]),
            registry.convention_of(entry),
            entry.prunable_exclude,
        )
    if run.as_json:
        print_json({"id": entry.id, **asdict(cost)})
        return
    screen = console()
    screen.print(_layers(cost, screen.width))
    say(_summary(cost))


def _layers(cost: Cost, width: int) -> Table:
    """One line per layer; on a narrow terminal the shape goes first, then the dense MACs."""
    heads = ("layer", "shape", "weights", "non-zero", "density %", "MACs", "effective")
    lines = [
        (
            row.name,
            "x".join(map(str, row.shape)),
            f"{row.total:,}",
            f"{row.nnz:,}",
            f"{100 * row.nnz / row.total:.2f}",
            f"{row.macs_dense:,}",
            f"{row.macs_effective:,}",
        )
        for row in cost.layers
    ]
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    shown = list(range(len(heads)))
    for dropped in (heads.index("shape"), heads.index("MACs"), heads.index("weights")):
        if sum(widths[i] for i in shown) + 2 * (len(shown) - 1) > width:
            shown.remove(dropped)
    rows = [[line[i] for i in shown] for line in lines]
    numbers = heads[2:]
    return plain_table([heads[i] for i in shown], rows, right=numbers, whole=numbers)


def _summary(cost: Cost) -> str:
    lines = [
        f"parameters          {cost.params:,} (norms and biases included)",
        f"weights             {cost.nnz:,} of {cost.total:,} non-zero: "
        f"{cost.sparsity_pct:.4f} % sparse (all conv+linear weights)",
    ]
    if cost.prunable_total != cost.total:
        share = 100 * (1 - cost.prunable_nnz / cost.prunable_total)
        lines.append(
            f"paper's denominator {cost.prunable_nnz:,} of {cost.prunable_total:,}: {share:.4f} %"
        )
    lines += [
        f"MACs                {cost.macs_effective:,} of {cost.macs_dense:,} dense (batch 1)",
        *_activations(cost),
        f"fvcore's own total  {cost.fvcore_total:,} (dense, with batch norm and pooling)",
    ]
    lines += [f"{name:<19} {value:,.4f} (paper's convention)" for name, value in cost.extra.items()]
    if cost.collapsed:
        lines.append(f"collapsed layers    {', '.join(cost.collapsed)}: no weight left")
    return "\n".join(lines + _left_out(cost))


def _activations(cost: Cost) -> list[str]:
    """Attention's own products, and their sum with those of weights, as others publish it."""
    if not cost.macs_activations:
        return []
    total = cost.macs_dense + cost.macs_activations
    return [
        f"MACs of activations {cost.macs_activations:,} (attention; {total:,} with dense weights)"
    ]


def _left_out(cost: Cost) -> list[str]:
    """What the counts above do not cover."""
    from harness.profile import abbreviated

    lines = _dead_and_near(cost)
    lines += [
        f"outside             {row.kind}: {row.params:,} parameters, "
        f"{100 * row.params / cost.params:.2f} %"
        + (f" ({abbreviated(row.names)})" if row.names else "")
        for row in cost.outside
    ]
    changed = [row for row in cost.layers if row.nnz_stored is not None]
    if changed:
        stored = sum(row.nnz_stored or 0 for row in changed)
        lines.append(
            f"changed before use  {len(changed)} weights, {stored:,} of "
            f"{sum(row.total for row in changed):,} non-zero as stored"
        )
    for reason in dict.fromkeys(row.uncounted for row in cost.layers if row.uncounted):
        names = tuple(row.name for row in cost.layers if row.uncounted == reason)
        lines.append(f"without MACs        {abbreviated(names)}: {reason}")
    if cost.unsupported:
        lines.append(f"not counted         {', '.join(cost.unsupported)}: MACs may be too low")
    return lines


def _dead_and_near(cost: Cost) -> list[str]:
    """Whole filters without a weight, and weights that only look like zeros."""
    from harness.profile import abbreviated

    lines = []
    if cost.dead_filters:
        named = [f"{row.name}: {row.dead_filters:,}" for row in cost.layers if row.dead_filters]
        lines.append(
            f"dead filters        {cost.dead_filters:,} without any weight ({abbreviated(named)})"
        )
    if cost.near_zero:
        looks = 100.0 * (1.0 - (cost.nnz - cost.near_zero) / cost.total)
        lines.append(
            f"near zero           {cost.near_zero:,} weights below 1e-6 that are not zero: "
            f"{looks:.4f} % look sparse"
        )
    return lines
