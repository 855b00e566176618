"""Dense and pruned ResNet-50 at STR's published layer densities, on every backend.

Weights are random and their zeros lie at random places, layer by layer as many as STR's networks
have: honest for timing, since a kernel's time depends on how many zeros there are and on the
shapes, not on values. `channels-0.5` is the same network without half of its channels, and
`channels-0.5-str-95.15` that one with zeros in what is left, in each layer the share of that level:
the sparse runtime's plan holds both then. The dense network run eagerly is timed along with every
part, so a ratio never leaves its record.

    python -m benchmarks.latency_table --batch 1 [--network str-95.15 ...] [--backend sparse ...]
    python -m benchmarks.latency_table --small         # a tiny network, nothing on record
    python -m benchmarks.latency_table --report        # the table from what is on record

Each call appends one record to reports/latency/resnet50-str-budgets; with --missing it leaves out
what is on record already. The table (README.md and table.json in reports/latency) is made from the
newest timing of each way.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from benchmarks import home, parsed
from harness import paths
from harness.commands import progress
from harness.export import remove_channels_
from harness.profile import (
    BURST,
    DRAWN_WITH_SEED,
    LatencyRequest,
    TimedNetwork,
    TimedNetworks,
    measure_latency,
    networks_of_model,
    prune_at_random_,
)
from harness.reports import (
    machine_in_words,
    network_lines,
    timing_cells,
    timing_legend,
    timing_markdown,
    timing_rows,
)
from harness.results import BACKENDS, EAGER, LatencyRecord, load_timings, save_timings
from harness.system import provenance
from methods.budgets import read

NAME = "resnet50-str-budgets"
MODEL, DENSE = "resnet50", "dense"
BUDGETS = Path("tests/fixtures/str/budgets_resnet50.csv")
LEVELS = ("90.23", "95.15", "98.05")
CHANNELS = "channels-0.5"
BOTH_LEVEL = "95.15"
BOTH = f"{CHANNELS}-str-{BOTH_LEVEL}"
NETWORKS = (DENSE, *(f"str-{level}" for level in LEVELS), CHANNELS, BOTH)


def subjects(model: str, wanted: Iterable[str]) -> TimedNetworks:
    """The dense network, and those of `wanted`."""
    names = set(wanted)
    levels = [level for level in LEVELS if f"str-{level}" in names]
    found = networks_of_model(model, budgets=[f"{BUDGETS}:{level}" for level in levels], name=NAME)
    dense, *pruned = found.networks
    made = [dense, *(replace(subject, name=f"str-{subject.name}") for subject in pruned)]
    if {CHANNELS, BOTH} & names:
        images = torch.randn(1, *found.input_shape, generator=torch.Generator().manual_seed(0))
        small = copy.deepcopy(dense.network)
        remove_channels_(small, images, 0.5)
        made_of = f"{dense.weights}; without 50 % of the channels, smallest L1 norm first"
        if CHANNELS in names:
            made.append(TimedNetwork(CHANNELS, model, made_of, small))
        if BOTH in names:
            both = copy.deepcopy(small)
            budget = read(f"{BUDGETS}:{BOTH_LEVEL}")
            prune_at_random_(both, budget, torch.Generator().manual_seed(DRAWN_WITH_SEED))
            said = (
                f"{made_of}; zeros at random places, layer densities of {BUDGETS.name}:{BOTH_LEVEL}"
            )
            made.append(TimedNetwork(BOTH, model, said, both))
    return replace(found, networks=tuple(made))


def missing(batch: int, networks: Sequence[str], backends: Sequence[str]) -> list[str]:
    """The networks of which any backend is not on record for this machine."""
    machine = provenance.hardware("cpu")["machine"]
    measured = {
        (t.network, t.backend)
        for record in load_timings(entry=NAME)
        if record.place.machine == machine
        for t in record.timings
        if t.batch == batch
    }
    return [n for n in networks if any((n, backend) not in measured for backend in backends)]


def with_load(record: LatencyRecord) -> str:
    """A record's id, and how busy the machine was when it began."""
    load = record.load_average
    return record.record_id + ("" if load is None else f" (load average {load:.1f})")


def not_yet(measured: set[tuple[int, str, str]]) -> list[str]:
    """A line per batch size that tells which ways of it nobody has timed."""
    lines = []
    for batch in sorted({batch for batch, _, _ in measured}):
        absent = [
            f"{network} ({', '.join(ways)})"
            for network in NETWORKS
            if (ways := [way for way in BACKENDS if (batch, network, way) not in measured])
        ]
        if absent:
            lines += ["", f"Not timed yet at batch {batch}: {'; '.join(absent)}."]
    return lines


def report(records: Sequence[LatencyRecord]) -> None:
    """Write README.md and table.json from the newest timing of each way."""
    newest = records[-1]
    measured = [record for record in records if record.place == newest.place]
    found = timing_rows(measured)
    networks = {n.name: n for record in measured for n in record.networks}
    order = {name: i for i, name in enumerate(NETWORKS)}
    ways = {name: i for i, name in enumerate(BACKENDS)}
    found.sort(key=lambda r: (r.timing.batch, order[r.timing.network], ways[r.timing.backend]))
    used = [record for record in measured if record.record_id in {row.record_id for row in found}]
    folder = paths.latency_folder()
    versions = {"torch", "onnxruntime", "scipy"}
    libraries = ", ".join(f"{k} {v}" for k, v in newest.versions.items() if k in versions)
    lines = [
        "# Latency of dense and pruned ResNet-50",
        "",
        "Made by `python -m benchmarks.latency_table` (see its head). The weights are random; the "
        "`str-*` networks have as many zeros per layer as STR's published layer budgets say, at "
        "random places. Accuracy is not claimed.",
        "",
        f"{machine_in_words(newest)}; {libraries}. Records: {', '.join(map(with_load, used))}.",
        "",
        *network_lines(networks[name] for name in NETWORKS if name in networks),
        "",
        "Packed: one bit per weight and the non-zero values; deflated: zlib over the dense bytes.",
        "",
        timing_markdown(found),
        "",
        timing_legend(used),
    ]
    skipped = {f"{x.network} on {x.backend}: {x.reason}" for r in used for x in r.skipped}
    lines += [f"Not timed: {reason}" for reason in sorted(skipped)]
    lines += not_yet({(row.timing.batch, row.timing.network, row.timing.backend) for row in found})
    (folder / "README.md").write_text("\n".join(lines) + "\n")
    document = [
        {
            "network": asdict(row.network),
            "timing": asdict(replace(row.timing, samples_ms=())),
            "text": dict(
                zip(("over_eager", "over_onnxruntime"), timing_cells(row)[6:8], strict=True)
            ),
            "over_eager": asdict(row.over_eager) if row.over_eager else None,
            "over_onnxruntime": asdict(row.over_onnxruntime) if row.over_onnxruntime else None,
            "record": row.record_id,
            "hardware": newest.hardware,
        }
        for row in found
    ]
    (folder / "table.json").write_text(json.dumps(document, indent=1) + "\n")
    print(f"{len(found)} rows in {folder.name}/README.md")


def main() -> None:
    parser = argparse.ArgumentParser(description="ResNet-50 at STR's layer densities")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=BACKENDS)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--way", nargs="+", metavar="NETWORK:BACKEND", help="only these")
    parser.add_argument("--burst", type=int, default=BURST, help="timed passes per turn")
    parser.add_argument("--memory", action="store_true", help="peak memory, a process per way")
    parser.add_argument("--missing", action="store_true", help="only what is not on record yet")
    parser.add_argument("--report", action="store_true", help="only make the table")
    arguments = parsed(
        parser, model="convnet_tiny", network=(DENSE, CHANNELS), backend=("channels_last",)
    )
    with home(temporary=arguments.small):
        _run(arguments)


def _run(arguments: argparse.Namespace) -> None:
    """Times what is asked for, then makes the table."""
    if not arguments.report:
        networks = arguments.network
        ways = [tuple(way.split(":")) for way in arguments.way or ()]
        if arguments.missing:
            networks = missing(arguments.batch, networks, arguments.backend)
        if networks:
            backends = tuple(dict.fromkeys((EAGER, *arguments.backend)))
            if ways:
                ways = [(DENSE, EAGER), *ways]
                networks = [n for n in networks if any(way[0] == n for way in ways)]
            with progress() as bars:
                request = LatencyRequest(
                    backends=backends,
                    batches=(arguments.batch,),
                    threads=arguments.threads,
                    repeats=arguments.repeats,
                    burst=arguments.burst,
                    ways=set(ways) or None,
                    memory=arguments.memory,
                    progress=bars,
                )
                print(
                    save_timings(measure_latency(subjects(arguments.model, networks), request)).name
                )
    report(list(load_timings(entry=NAME)))


if __name__ == "__main__":
    main()
