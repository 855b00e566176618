"""bench profile"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.output import print_json, print_rich, progress

if TYPE_CHECKING:
    from rich.table import Table

    from harness.results import Cost


@click.command("profile", epilog="Example:  bench profile dense-resnet20-cifar10")
@click.argument("entry_id", metavar="ID")
@click.option("--dense", is_flag=True, help="Profile the architecture without its checkpoint.")
@click.option(
    "--from",
    "from_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Checkpoint file downloaded by hand.",
)
@options.data_root
@options.extra_registries
@options.as_json
def command(
    entry_id: str,
    dense: bool,
    from_file: Path | None,
    data_root: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Parameters, zeros and MACs per layer (conv and linear weights; 1 MAC = 1 multiply-add)."""
    registry = options.load_registry(registries)
    entry = registry.get(entry_id)
    from harness.cost import measure_cost
    from harness.record import input_shape
    from harness.reproduce import Options, build_model, load_model

    with progress() as bars:
        chosen = Options(data_root=data_root, from_file=from_file, progress=bars)
        model = build_model(entry) if dense else load_model(entry, chosen)[0]
        cost = measure_cost(
            model,
            input_shape(registry.evaluations[entry.evaluation]),
            registry.papers[entry.paper].flops_convention,
            entry.prunable_exclude,
        )
    if as_json:
        print_json({"id": entry.id, **cost.model_dump(mode="json")})
        return
    print_rich(_layers(cost))
    click.echo(_summary(cost))


def _layers(cost: Cost) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("layer", overflow="fold")
    table.add_column("shape", no_wrap=True)
    for name in ("weights", "non-zero", "density %", "MACs", "effective"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in cost.layers:
        table.add_row(
            row.name,
            "x".join(map(str, row.shape)),
            f"{row.total:,}",
            f"{row.nnz:,}",
            f"{100 * row.nnz / row.total:.2f}",
            f"{row.macs_dense:,}",
            f"{row.macs_effective:,}",
        )
    return table


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
        f"fvcore's own total  {cost.fvcore_total:,} (dense, with batch norm and pooling)",
    ]
    lines += [f"{name:<19} {value:,.4f} (paper's convention)" for name, value in cost.extra.items()]
    if cost.collapsed:
        lines.append(f"collapsed layers    {', '.join(cost.collapsed)}: no weight left")
    return "\n".join(lines)
