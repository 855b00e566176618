"""Latency on record: one JSON file per measurement, append-only, no absolute path.

Layout below the latency folder: <entry id or name>/<UTC time>-<8 hex>.json. Times of different
machines, devices or thread counts are never compared: `newest` hands out those of one place only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness import paths
from harness.errors import DamagedFile
from harness.registry import Fault, from_mapping
from harness.results.result_files import each_readable, json_files, require_place
from harness.results.schema import Times, require_time
from harness.results.store import as_json
from harness.system import publish, read_json

SCHEMA_VERSION: Literal[1] = 1
EAGER = "eager"
BACKENDS = (EAGER, "channels_last", "compile", "onnxruntime", "sparse")
DENSE = "dense"
_PLACE = ("machine", "device", "threads")  # of the hardware: what makes times comparable


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One network on one backend at one batch size."""

    network: str
    backend: str
    batch: int
    ms: Times
    samples_ms: tuple[float, ...]  # in the order in which they were taken
    prepare_s: float  # conversion, compilation and first pass, not part of `ms`
    largest_difference: float  # of any output to the same network run eagerly
    largest_output: float  # what that difference is to be held against
    peak_memory_bytes: int | None  # see `memory`; None: could not be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """What was asked for and could not be measured, and why."""

    network: str
    backend: str
    batch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What was timed. Sizes are defined in harness.profile.size."""

    name: str
    model: str
    weights: str  # where they come from, in words
    params: int
    nnz: int  # of conv and linear weights
    total: int
    macs_dense: int
    macs_effective: int
    dense_bytes: int
    packed_bytes: int
    deflated_bytes: int

    @property
    def sparsity_pct(self) -> float:
        return 100.0 * (1.0 - self.nnz / self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRecord:
    """All timings of one command: every one was taken in turns with the others of its batch."""

    schema_version: Literal[1] = SCHEMA_VERSION
    record_id: str
    created: str  # UTC, ISO 8601
    entry: str  # registry id, or the user's own name
    input_shape: tuple[int, int, int]
    dtype: str = "float32"
    warmup: int  # untimed passes per way before the first turn
    burst: int  # timed passes per turn, after untimed ones
    settle_s: float = 0.0  # seconds of untimed passes in each turn, at least one pass
    # 1: a fixed number of passes. 2: at least 30, more until every median is known well enough.
    protocol: int = 1
    most_repeats: int | None = None  # of protocol 2: where it stopped however wide the intervals
    wanted_width: float | None = None  # of protocol 2: of the median's interval, relative to it
    networks: tuple[Network, ...]  # the first is the reference
    timings: tuple[Timing, ...]
    skipped: tuple[Skipped, ...] = ()
    memory: str = ""  # what peak_memory_bytes means here
    interrupted: bool = False
    load_average: float | None = None  # of the last minute, when the measurement began
    environment: Mapping[str, str] = field(default_factory=dict)  # variables that move times
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]  # with `machine`, the hash of its facts, device and threads
    code: Mapping[str, Any]

    def __post_init__(self) -> None:
        require_time("created", self.created)
        if not self.networks:
            raise Fault(("networks",), "nothing was timed")
        _ = self.place

    @property
    def place(self) -> TimingPlace:
        try:
            return from_mapping(TimingPlace, {key: self.hardware[key] for key in _PLACE})
        except KeyError as error:
            raise Fault(("hardware",), f"key {error} is missing") from error

    def find(self, network: str, backend: str, batch: int) -> Timing | None:
        """The timing of that kind, or None."""
        wanted = (network, backend, batch)
        return next((t for t in self.timings if (t.network, t.backend, t.batch) == wanted), None)

    def reference(self, batch: int) -> Timing | None:
        """The first network, run eagerly, at that batch size."""
        return self.find(self.networks[0].name, EAGER, batch)

    def fastest(self, network: str, batch: int) -> Timing | None:
        """The timing of `network` with the smallest median, whatever the backend."""
        mine = [t for t in self.timings if (t.network, t.batch) == (network, batch)]
        return min(mine, key=lambda t: t.ms.p50, default=None)


@dataclass(frozen=True, slots=True, order=True)
class TimingPlace:
    """Where a time holds: it says nothing about any other machine, device or thread count."""

    machine: str
    device: str
    threads: int


def median_interval(ms: Sequence[float]) -> tuple[float, float]:
    """Where the median lies with at least 95 %, from order statistics: no shape is assumed.

    The ranks r and n + 1 - r with the largest r for which P(Binomial(n, 1/2) < r) <= 2.5 %. Passes
    of one turn are alike, so on a machine whose speed changes slowly the interval is optimistic.
    Raises ValueError below 6 times, which no such interval spans.
    """
    count, below, rank = len(ms), 0.0, 0
    while (below := below + math.comb(count, rank) / 2**count) <= 0.025:
        rank += 1
    if rank == 0:
        raise ValueError(f"{count} times are too few for an interval of their median; 6 will do")
    ordered = sorted(ms)
    return ordered[rank - 1], ordered[count - rank]


def interval_width(ms: Sequence[float]) -> float:
    """Width of `median_interval` as a fraction of the median."""
    low, high = median_interval(ms)
    return (high - low) / statistics.median(ms)


@dataclass(frozen=True, slots=True)
class Gain:
    """How much faster, as a ratio of medians, and whether the spreads leave it any meaning."""

    ratio: float
    significant: bool


def gain(slow: Times, fast: Times) -> Gain:
    """How much faster `fast` is than `slow`; not significant if their p25-p75 intervals overlap."""
    slow_low, slow_high, fast_low, fast_high = (
        math.nan if quartile is None else quartile
        for quartile in (slow.p25, slow.p75, fast.p25, fast.p75)
    )
    apart = fast_high < slow_low or slow_high < fast_low
    return Gain(slow.p50 / fast.p50, apart)


def save_timings(record: LatencyRecord, folder: Path | None = None) -> Path:
    """Write `record` under its final name; the path. Raises MetricError if it exists."""
    base = folder or paths.latency_folder()
    target = base / record.entry / f"{record.record_id}.json"
    text = as_json(record)
    publish(target, lambda file: file.write(text.encode() + b"\n"))
    return target


def load(file: Path) -> LatencyRecord:
    """One record. Raises DamagedFile naming the file and the first wrong field."""
    try:
        record = from_mapping(LatencyRecord, read_json(file.read_bytes()))
    except (OSError, ValueError) as error:  # Fault is a ValueError
        msg = (
            f"{file.parent.name}/{file.name}: not a latency record of schema {SCHEMA_VERSION}: "
            f"{error}. Written by another version or edited by hand? Restore the file, or move it "
            "away."
        )
        raise DamagedFile(msg) from error
    require_place(file, record.entry, record.record_id)
    return record


def load_timings(folder: Path | None = None, entry: str | None = None) -> Iterator[LatencyRecord]:
    """Every stored record, or only those of one entry, oldest first.

    A file that is no record is named in a StateWarning and left out.
    folder: None = those on the project's record and those taken here.
    """
    bases = paths.layers("latency") if folder is None else (folder,)
    found = {path.name: path for base in bases for path in json_files(base, entry)}
    yield from each_readable([found[name] for name in sorted(found)], load)


def newest(machine: str | None = None, folder: Path | None = None) -> dict[str, LatencyRecord]:
    """Entry -> its newest record, all from one place; {} if there is none.

    machine: the hash in `hardware`; None = wherever the newest record was taken. Of several devices
    or thread counts of that machine, the newest record's count.
    """
    return of_one_place(load_timings(folder), lambda p: machine in (None, p.machine))


def of_one_place(
    records: Iterable[LatencyRecord], wanted: Callable[[TimingPlace], bool] = lambda place: True
) -> dict[str, LatencyRecord]:
    """Entry -> newest record among those taken where the newest wanted one was."""
    fitting = sorted((r for r in records if wanted(r.place)), key=lambda r: r.record_id)
    return {record.entry: record for record in fitting if record.place == fitting[-1].place}
