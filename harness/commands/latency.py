"""bench latency"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands import dataset_options, network_options
from harness.commands import shared_options as options
from harness.commands.number_types import WholeNumber
from harness.commands.output import print_json, progress
from harness.commands.printed_timings import show_timings
from harness.results import BACKENDS, EAGER

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.profile import TimedNetworks
    from harness.system import Reading

LEAST = 30  # passes; see harness.profile.require_repeats
QUICK_MOST = 60
QUICK_BURST = 10  # passes a turn: a third of the turns, each of which lets the machine settle


@click.command(
    "latency",
    epilog="Example:  bench latency str-convnet-tiny-digits-90 --batch 1 --backend eager "
    "--backend sparse",
)
@click.argument("ids", metavar="[ID|RUN]...", nargs=-1, shell_complete=options.complete_ids)
@network_options.model(help=f"Instead of IDs. {network_options.MODEL_HELP}")
@click.option(
    "--weights",
    multiple=True,
    type=options.FILE,
    help="With --model: time this file too, a checkpoint or a file of `bench shrink` (repeatable).",
)
@options.reading
@click.option(
    "--budget",
    "budgets",
    multiple=True,
    metavar="FILE.csv:COLUMN",
    help="With --model: random weights pruned to the layer densities of this file (repeatable).",
)
@dataset_options.dataset(help="With --model: sets classes and image size.")
@click.option("--name", help="With --model: name of the record.")
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=WholeNumber(1),
    help="Images per pass (repeatable; default: 1 and 32).",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice(BACKENDS),
    help="Way of running it (repeatable; default: all).",
)
@options.device
@click.option("--threads", type=WholeNumber(1), help="CPU threads (default: torch's own).")
@click.option(
    "--repeats",
    type=int,
    help="Timed passes each, at least 30 (default: 30 to 120, until the 95 % interval of every "
    "median is within 5 % of it).",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Seconds: batch 1, eager and sparse, 30 to 60 passes, no memory, unless said otherwise.",
)
@click.option("--no-memory", is_flag=True, help="Do not measure peak memory (a process per way).")
@options.data_root
@options.extra_registries
@options.as_json
def command(
    ids: tuple[str, ...],
    model: str | None,
    weights: tuple[Path, ...],
    reading: Reading,
    budgets: tuple[str, ...],
    dataset: str | None,
    name: str | None,
    batches: tuple[int, ...],
    backends: tuple[str, ...],
    device: str,
    threads: int | None,
    repeats: int | None,
    quick: bool,
    no_memory: bool,
    data_root: Path | None,
    registries: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Time dense and pruned networks in turns.

    An ID stands for an entry's network with its published weights, or for a run, timed against the
    same network drawn at random (dense kernels do not care about values). --model times a network
    of one's own; beside the ID of a run it names the run's own code.
    Each backend's outputs are compared with eager execution first. Records go below
    reports/latency; Ctrl-C keeps the batch sizes that are complete. Under the table stands how
    well the medians are known.
    """
    _require_one_kind(ids, model, bool(weights or budgets or dataset or name))
    registry = options.load_registry(registries)
    from harness.export import NetworkName, timed_network
    from harness.profile import LatencyRequest, measure_and_save, networks_of_model
    from harness.system import Options

    ways, sizes = ((EAGER, "sparse"), (1,)) if quick else (BACKENDS, (1, 32))
    with progress() as bars:
        request = LatencyRequest(
            backends=tuple(dict.fromkeys(backends or ways)),
            batches=tuple(dict.fromkeys(batches or sizes)),
            device=options.pick_device(device),
            threads=threads,
            **_passes(repeats, quick),
            memory=not (no_memory or quick),
            progress=bars,
        )
        chosen = Options(data_root=data_root, progress=bars, reading=reading)
        made: list[Callable[[], TimedNetworks]] = [
            partial(timed_network, NetworkName(id, model), registry, chosen) for id in ids
        ]
        if model is not None and not ids:
            made.append(partial(networks_of_model, model, weights, budgets, dataset, name, chosen))
        records = measure_and_save(made, request)
    if as_json:
        print_json(records)
        return
    for record in records:
        show_timings(record)


def _passes(repeats: int | None, quick: bool) -> dict[str, Any]:
    """How many passes, and how many to a turn, as fields of a LatencyRequest.

    Raises ProtocolError below 30.
    """
    from harness.profile import BURST, Precision, require_repeats

    burst = QUICK_BURST if quick else BURST
    if repeats is not None:
        require_repeats(repeats)
        return {"repeats": repeats, "burst": burst}
    until = Precision(most=QUICK_MOST) if quick else Precision()
    return {"repeats": LEAST, "burst": burst, "until": until}


def _require_one_kind(ids: tuple[str, ...], model: str | None, about_model: bool) -> None:
    if not ids and model is None:
        raise click.UsageError("give IDs of entries or names of runs, or --model NAME")
    if about_model and (ids or model is None):
        raise click.UsageError("--weights, --budget, --dataset and --name go with --model alone")
