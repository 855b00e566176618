"""Timings as a table: every ratio is of two ways that were timed in turns, in one record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import MetricError
from harness.reports.table.cells import MISSING
from harness.results import (
    EAGER,
    Gain,
    LatencyRecord,
    Network,
    Timing,
    gain,
    interval_width,
    median_interval,
)

if TYPE_CHECKING:
    from rich.table import Table

ONNXRUNTIME = "onnxruntime"
MEBIBYTE = 2**20
HEADS = (
    "batch",
    "network",
    "backend",
    "p50 ms",
    "p90 ms",
    "IQR",
    "x dense eager",
    "x dense onnxruntime",
    "x dense, same backend",
    "peak MiB",
    "prepare s",
    "largest Δ",
)
LEGEND = (
    "ms: one pass of the whole batch; IQR = p75 - p25; x = how many times faster than that dense "
    "run of the same record, a ratio of medians timed in turns in one process; n.s. = not "
    "significant, the p25-p75 intervals overlap; peak = {memory}; prepare = conversion, compiling "
    "and first pass, not in the times; largest Δ = of any output to eager execution of the same "
    "network."
)


@dataclass(frozen=True, slots=True)
class TimingRow:
    """One timing and what it gains; None where the record lacks the reference."""

    timing: Timing
    network: Network
    over_eager: Gain | None
    over_onnxruntime: Gain | None
    over_same_backend: Gain | None
    peak_memory_bytes: int | None  # of the newest record that has it
    record_id: str


def timing_rows(records: Iterable[LatencyRecord]) -> list[TimingRow]:
    """The newest timing of every network, backend and batch size in `records`.

    Raises MetricError if they come from different machines, devices or thread counts.
    """
    ordered = sorted(records, key=lambda record: record.record_id)
    places = sorted({record.place for record in ordered})
    if len(places) > 1:
        differing = "; ".join(
            f"machine {p.machine}, {p.device}, {p.threads} threads" for p in places
        )
        msg = f"timings of {len(places)} places cannot share a table ({differing}). Choose one"
        raise MetricError(msg)
    found: dict[tuple[int, str, str, str], TimingRow] = {}
    for record in ordered:
        networks = {network.name: network for network in record.networks}
        for timing in record.timings:
            key = (timing.batch, record.networks[0].model, timing.network, timing.backend)
            row = _row(record, timing, networks[timing.network])
            # Memory does not hang on what else the machine does: an older figure is as good.
            older = found[key].peak_memory_bytes if key in found else None
            found[key] = row if row.peak_memory_bytes else replace(row, peak_memory_bytes=older)
    return sorted(found.values(), key=lambda row: row.timing.batch)


def _row(record: LatencyRecord, timing: Timing, network: Network) -> TimingRow:
    dense = record.networks[0].name

    def over(backend: str) -> Gain | None:
        slow = record.find(dense, backend, timing.batch)
        return None if slow is None or slow is timing else gain(slow.ms, timing.ms)

    return TimingRow(
        timing=timing,
        network=network,
        over_eager=over(EAGER),
        over_onnxruntime=over(ONNXRUNTIME),
        over_same_backend=over(timing.backend),
        peak_memory_bytes=timing.peak_memory_bytes,
        record_id=record.record_id,
    )


def timing_cells(row: TimingRow) -> tuple[str, ...]:
    """The texts below HEADS."""
    t = row.timing
    peak = row.peak_memory_bytes
    return (
        str(t.batch),
        t.network,
        t.backend,
        f"{t.ms.p50:.2f}",
        f"{t.ms.p90:.2f}",
        f"{t.ms.iqr:.2f}",
        _ratio(row.over_eager),
        _ratio(row.over_onnxruntime),
        _ratio(row.over_same_backend),
        MISSING if peak is None else f"{peak / MEBIBYTE:,.0f}",
        f"{t.prepare_s:.1f}",
        f"{t.largest_difference:.1e}",
    )


def _ratio(found: Gain | None) -> str:
    if found is None:
        return MISSING
    return f"{found.ratio:.2f}" if found.significant else f"{found.ratio:.2f} n.s."


def timing_legend(records: Sequence[LatencyRecord]) -> str:
    """What the columns mean, and how the times were taken."""
    first = max(records, key=lambda record: (bool(record.memory), record.record_id))
    samples = sorted({t.ms.n for record in records for t in record.timings})
    bursts, settled = (
        " or ".join(f"{value:g}" for value in sorted(values))
        for values in ({r.burst for r in records}, {r.settle_s for r in records})
    )
    how = (
        f" n = {', '.join(map(str, samples))} passes each, {bursts} to a turn, after at least one "
        f"untimed pass and {settled} s of them; {first.dtype}, "
        f"{'x'.join(map(str, first.input_shape))}."
    )
    return LEGEND.format(memory=first.memory or "not measured") + how


def known_to(record: LatencyRecord) -> str:
    """How well the medians are known, the worst of them, and what the measurement asked for."""
    widest = max(record.timings, key=lambda timing: interval_width(timing.samples_ms))
    low, high = median_interval(widest.samples_ms)
    place = f"{widest.network} on {widest.backend}, batch {widest.batch}"
    width = 100 * interval_width(widest.samples_ms)
    said = (
        f"The widest 95 % interval of a median is {low:.3f} to {high:.3f} ms, {width:.1f} % of it "
        f"({place}, n = {widest.ms.n})"
    )
    if record.wanted_width is None:
        return f"{said}."
    goal = f"{100 * record.wanted_width:g} %"
    if interval_width(widest.samples_ms) <= record.wanted_width:
        return f"{said}; {goal} was asked for."
    return f"{said}; {goal} was asked for, and {record.most_repeats} passes did not reach it."


def machine_in_words(record: LatencyRecord) -> str:
    """The machine in words."""
    facts = record.hardware
    chip = facts["accelerator"] or f"{facts['cpu']}, {facts['cores']} cores"
    return f"machine {facts['machine']} ({chip}), {facts['device']}, {facts['threads']} threads"


def timing_sentences(record: LatencyRecord) -> list[str]:
    """One sentence per batch size: the dense network run eagerly, and the last one at its best."""
    sentences = []
    for batch in sorted({t.batch for t in record.timings}):
        dense = record.reference(batch)
        best = record.fastest(record.networks[-1].name, batch)
        if dense is None or best is None:
            continue
        found = gain(dense.ms, best.ms)
        doubt = "" if found.significant else ", not significant"
        sentences.append(
            f"batch {batch}: dense eager {dense.ms.p50:.2f} ms; {best.network} at best "
            f"{best.ms.p50:.2f} ms ({best.backend}, {found.ratio:.2f} x{doubt})"
        )
    return sentences


def timing_markdown(found: Sequence[TimingRow]) -> str:
    """The rows as a markdown table."""
    left = len(HEADS[1:3])
    rule = ["---:"] + ["---"] * left + ["---:"] * (len(HEADS) - 1 - left)
    lines = [HEADS, tuple(rule), *map(timing_cells, found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def network_lines(networks: Iterable[Network]) -> list[str]:
    """One markdown line per network: zeros, MACs, bytes and where its weights come from."""
    heads = ("network", "zeros %", "MACs (M)", "dense MiB", "packed MiB", "deflated MiB", "weights")
    lines = [heads, ("---", *["---:"] * 5, "---")]
    for n in networks:
        sizes = (n.dense_bytes, n.packed_bytes, n.deflated_bytes)
        numbers = (f"{n.sparsity_pct:.2f}", f"{n.macs_effective / 1e6:,.1f}")
        mebibytes = tuple(f"{value / MEBIBYTE:.1f}" for value in sizes)
        lines.append((n.name, *numbers, *mebibytes, n.weights))
    return [f"| {' | '.join(line)} |" for line in lines]


def timing_table(found: Sequence[TimingRow], width: int) -> Table:
    """The rows for a terminal; the least telling columns go first when it is narrow."""
    from rich.table import Table

    lines = [timing_cells(row) for row in found]
    shown = [i for i in range(len(HEADS)) if any(line[i] != MISSING for line in lines)]
    dropped = ("largest Δ", "prepare s", "x dense, same backend", "peak MiB", "p90 ms", "IQR")
    for head in dropped:
        wide = sum(max(len(HEADS[i]), *(len(line[i]) for line in lines)) + 2 for i in shown)
        if wide > width and HEADS.index(head) in shown:
            shown.remove(HEADS.index(head))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i in shown:
        table.add_column(HEADS[i], justify="left" if 1 <= i <= 2 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*(line[i] for i in shown))
    return table
