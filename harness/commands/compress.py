"""bench compress"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from harness.commands import network_options
from harness.commands import shared_options as options
from harness.commands.number_types import RealNumber, WholeNumber
from harness.commands.output import console, plain_table, print_json
from harness.commands.run_options import RunOptions, reading_weights
from harness.commands.visible_text import say
from harness.reports import MISSING

if TYPE_CHECKING:
    from rich.table import Table

    from harness.export import NetworkName
    from harness.profile import SizeTable
    from harness.system import Reading


def _layer_bits(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, int]:
    """LAYER=BITS, in the order given. Raises BadParameter for anything else."""
    found = {}
    for text in given:
        layer, _, bits = text.rpartition("=")
        try:
            width = WholeNumber(1, 16).convert(bits, parameter, context)
        except click.BadParameter as error:
            raise click.BadParameter(f"{error.message} Write LAYER=BITS: conv1=8") from error
        if not layer:
            raise click.BadParameter(f"{text!r} names no layer. Write LAYER=BITS: conv1=8")
        found[layer] = width
    return found


@click.command("compress", epilog="Example:  bench compress dense-convnet-tiny-digits --share")
@click.argument(
    "entry_id", metavar="[ID|FILE]", required=False, shell_complete=options.complete_ids
)
@network_options.named
@options.reading
@click.option(
    "--bits",
    type=WholeNumber(1, 16),
    default=8,
    show_default=True,
    help="Width of the code that stands for a shared weight.",
)
@click.option(
    "--layer-bits",
    multiple=True,
    metavar="LAYER=BITS",
    callback=_layer_bits,
    help='Another width for some layers, such as "conv*=8"; may be repeated.',
)
@click.option(
    "--index-bits",
    type=WholeNumber(1, 16),
    default=4,
    show_default=True,
    help="Width of the gap to the next stored weight.",
)
@click.option(
    "--sparsity",
    type=RealNumber(0, 1, max_open=True),
    help="Drop this share of the non-zero weights first, by one threshold for all layers.",
)
@click.option("--share", is_flag=True, help="Cluster the weights of each layer first.")
@reading_weights
def command(
    what: NetworkName,
    reading: Reading,
    bits: int,
    layer_bits: dict[str, int],
    index_bits: int,
    sparsity: float | None,
    share: bool,
    run: RunOptions,
) -> None:
    """Bytes of every layer after each stage of Deep Compression.

    dense: float32. pruned: float32 and a gap per stored entry. shared: a code and a gap per
    entry, and a codebook per layer. huffman: codes and gaps as an optimal prefix code. Nothing is
    trained; weights that are not shared among 2^bits values have no shared size.
    """
    registry = run.registry()
    from harness.export import find_weights
    from harness.profile import Widths, size_table

    label = what.word or what.model

    with run.begun(reading=reading) as (chosen, _):
        given = find_weights(what, registry, chosen)
        chosen.progress.stage(f"{label}: sizes")
        sizes = size_table(given, Widths(bits, layer_bits, index_bits), sparsity, share)
    if run.as_json:
        print_json({"what": label, "bits": bits, "index_bits": index_bits, **asdict(sizes)})
        return
    console().print(_layers(sizes))
    for line in _summary(sizes):
        say(line)


def _layers(sizes: SizeTable) -> Table:
    heads = ("weights", "non-zero", "entries", "dense", "pruned", "shared", "huffman")
    rows = []
    for row in [*sizes.layers, sizes.total]:
        stages = (row.dense_bytes, row.pruned_bytes, row.shared_bytes, row.huffman_bytes)
        numbers = (row.weights, row.nonzero, row.entries, *stages)
        rows.append((row.name, *map(_count, numbers)))
    return plain_table(("layer", *heads), rows, right=heads, whole=heads)


def _summary(sizes: SizeTable) -> list[str]:
    total, lines = sizes.total, [f"file as it is        {sizes.file_bytes:,} bytes"]
    if sizes.stored_bytes is not None:
        lines.append(
            f"shared, in one file  {sizes.stored_bytes:,} bytes, with an entry count per matrix"
        )
    smallest = min(
        size
        for size in (total.dense_bytes, total.pruned_bytes, total.shared_bytes, total.huffman_bytes)
        if size is not None
    )
    lines.append(f"smallest stage       {total.dense_bytes / smallest:.2f}x smaller than dense")
    return lines


def _count(number: int | None) -> str:
    return MISSING if number is None else f"{number:,}"
