"""Time several networks on several backends in turns, and put it on record."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.errors import BenchError, MetricError, Preempted, ProtocolError
from harness.profile.backends import RUNNERS, Backend, Forward
from harness.profile.cost import measure_cost
from harness.profile.memory import MEANING, peak_bytes
from harness.profile.size import size
from harness.profile.timed_networks import TimedNetwork, TimedNetworks
from harness.profile.timing import (
    BURST,
    SETTLE_S,
    WARMUP_PASSES,
    Precision,
    in_turns,
    require_repeats,
    times_of,
)
from harness.results import LatencyRecord, Network, Skipped, Timing, new_id, save_timings
from harness.system import Progress, Silent, provenance, verdict_precision

# Of float32 sums in another order over a hundred layers, relative to the largest output; half
# precision, a wrong fold or a lost channel are off by far more.
LARGEST_RELATIVE_DIFFERENCE = 1e-4
IMAGE_SEED = 1
_ABSOLUTE = re.compile(r"(?:/[^/\s'\"]+)+/([^/\s'\"]+)")  # records hold no absolute path
_PACKAGES = ("onnxruntime", "onnx", "onnxscript", "scipy", "torch-pruning")
_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
)


@dataclass(frozen=True, slots=True)
class LatencyRequest:
    """What to time: every network on every backend at every batch size, `repeats` passes each.

    ways: only these (network, backend). burst: timed passes per turn. until: `repeats` are the
    least, and more follow until every median is known that well.
    """

    backends: Sequence[str] = tuple(RUNNERS)
    batches: Sequence[int] = (1, 32)
    device: str = "cpu"
    threads: int | None = None  # None: as torch is set up
    repeats: int = 30
    burst: int = BURST
    ways: Collection[tuple[str, str]] | None = None
    until: Precision | None = None
    memory: bool = True
    progress: Progress = field(default_factory=Silent)


@dataclass(frozen=True, slots=True)
class _Way:
    """One network on one backend, checked and ready to run."""

    forward: Forward
    prepare_s: float
    largest_difference: float
    largest_output: float
    peak_memory_bytes: int | None


def measure_and_save(
    made: Iterable[Callable[[], TimedNetworks]], request: LatencyRequest
) -> list[LatencyRecord]:
    """The record of each, saved as soon as it is complete; networks are made one after the other.

    Raises what `measure_latency` does, and Preempted after saving what was complete at a Ctrl-C.
    """
    records = []
    for make in made:
        record = measure_latency(make(), request)
        file = save_timings(record)
        request.progress.note(f"written: {file.parent.name}/{file.name}")
        if record.interrupted:
            complete = ", ".join(str(batch) for batch in sorted({t.batch for t in record.timings}))
            msg = f"{record.entry}: stopped; kept batch {complete}. Repeat with the --batch missing"
            raise Preempted(msg)
        records.append(record)
    return records


def measure_latency(subjects: TimedNetworks, request: LatencyRequest) -> LatencyRecord:
    """The timings, not yet saved; a backend that cannot run a network is listed with its reason.

    Every backend's outputs are compared with eager execution first. Ctrl-C ends it after the batch
    sizes that are complete. Raises MetricError if nothing could be timed; ProtocolError below 30
    repeats and for a device whose queue is not waited for; Preempted if it was stopped before
    anything was complete.
    """
    require_repeats(request.repeats)
    _require_timed_device(request.device)
    record_id, created = new_id()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with _threads(request.threads), verdict_precision():
        measured = _measured(subjects, request)
        hardware = provenance.hardware(request.device)
    return LatencyRecord(
        record_id=record_id,
        created=created,
        entry=subjects.entry,
        input_shape=subjects.input_shape,
        warmup=WARMUP_PASSES,
        burst=request.burst,
        settle_s=SETTLE_S,
        protocol=1 if request.until is None else 2,
        most_repeats=request.until.most if request.until else None,
        wanted_width=request.until.width if request.until else None,
        networks=measured.networks,
        timings=tuple(measured.timings),
        skipped=tuple(measured.skipped),
        memory=MEANING[torch.device(request.device).type] if request.memory else "",
        interrupted=measured.interrupted,
        load_average=load,
        environment={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        versions=provenance.versions(*_PACKAGES),
        hardware=hardware,
        code=provenance.code_version(),
    )


@dataclass(slots=True)
class _Measured:
    """What grows from one batch size to the next."""

    networks: tuple[Network, ...] = ()
    timings: list[Timing] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    interrupted: bool = False


def _measured(subjects: TimedNetworks, request: LatencyRequest) -> _Measured:
    """All batch sizes, or those that were complete at a Ctrl-C."""
    found = _Measured()
    try:
        for subject in subjects.networks:
            subject.network.to(request.device)
        shape = subjects.input_shape
        found.networks = tuple(_facts(each, shape, request) for each in subjects.networks)
        for batch in request.batches:
            found.timings += _batch(subjects, batch, request, found.skipped)
    except KeyboardInterrupt:
        found.interrupted = True
        if not found.timings:
            msg = f"{subjects.entry}: stopped before any batch size was complete; nothing kept"
            raise Preempted(msg) from None
    if not found.timings:
        reasons = "; ".join(dict.fromkeys(f"{s.backend}: {s.reason}" for s in found.skipped))
        raise MetricError(f"{subjects.entry}: nothing could be timed. {reasons}")
    return found


def _require_timed_device(device: str) -> None:
    if torch.device(device).type not in MEANING:
        msg = f"device {device!r} is not timed: only {' and '.join(MEANING)} are waited for"
        raise ProtocolError(f"{msg}. Try: --device cpu")


def _batch(
    subjects: TimedNetworks, batch: int, request: LatencyRequest, skipped: list[Skipped]
) -> list[Timing]:
    """Timings of all ways at one batch size; what cannot be run is added to `skipped`."""
    generator = torch.Generator().manual_seed(IMAGE_SEED)
    images = torch.randn(batch, *subjects.input_shape, generator=generator).to(request.device)
    ways: dict[tuple[str, str], _Way] = {}
    for subject in subjects.networks:
        for name in request.backends:
            if request.ways is not None and (subject.name, name) not in request.ways:
                continue
            request.progress.stage(f"batch {batch}: prepare {subject.name} on {name}")
            try:
                ways[subject.name, name] = _prepare(subject, RUNNERS[name], images, request)
            except _CannotRun as error:
                request.progress.note(f"skipped: {subject.name} on {name}: {error}")
                left_out = Skipped(
                    network=subject.name, backend=name, batch=batch, reason=str(error)
                )
                skipped.append(left_out)
    request.progress.stage(f"batch {batch}: {len(ways)} ways in turns", total=request.repeats)
    forwards = {key: way.forward for key, way in ways.items()}
    advance = request.progress.advance
    taken = in_turns(forwards, images, request.repeats, request.burst, advance, until=request.until)
    return [
        Timing(
            network=network,
            backend=backend,
            batch=batch,
            ms=times_of(samples),
            samples_ms=tuple(samples),
            prepare_s=ways[network, backend].prepare_s,
            largest_difference=ways[network, backend].largest_difference,
            largest_output=ways[network, backend].largest_output,
            peak_memory_bytes=ways[network, backend].peak_memory_bytes,
        )
        for (network, backend), samples in taken.items()
    ]


class _CannotRun(Exception):
    """This network does not run on this backend; the message says why."""


def _prepare(
    subject: TimedNetwork, backend: Backend, images: Tensor, request: LatencyRequest
) -> _Way:
    reason = backend.unavailable(images.device)
    if reason:
        raise _CannotRun(reason)
    began = time.perf_counter()
    try:
        with torch.no_grad():
            converted = backend.convert(subject.network, images)
        with torch.inference_mode():
            forward = backend.start(converted, images)
            output = forward(images)
    # Exporters and compilers raise whatever they like; one of them failing must not cost the rest.
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        text = first if isinstance(error, BenchError) else f"{type(error).__name__}: {first}"
        raise _CannotRun(_ABSOLUTE.sub(r"\1", text)) from error
    prepare_s = time.perf_counter() - began
    difference, scale = _compare(subject.network, output, images)
    memory = None
    if request.memory:
        memory = peak_bytes(backend.name, subject.network, converted, images)
    return _Way(forward, prepare_s, difference, scale, memory)


@torch.inference_mode()
def _compare(network: nn.Module, output: Tensor, images: Tensor) -> tuple[float, float]:
    """(largest difference to eager, largest output). Raises _CannotRun if they do not agree."""
    expected = network(images)
    scale = float(expected.abs().max())
    difference = float((output - expected).abs().max())
    if not difference <= LARGEST_RELATIVE_DIFFERENCE * scale:
        msg = f"outputs differ from eager by {difference:.3g} (largest output {scale:.3g})"
        raise _CannotRun(f"{msg}; a fast wrong answer is not timed")
    return difference, scale


def _facts(subject: TimedNetwork, shape: tuple[int, int, int], request: LatencyRequest) -> Network:
    request.progress.stage(f"{subject.name}: weights and MACs")
    cost = measure_cost(subject.network, shape)
    bytes_of = size(subject.network)
    return Network(
        name=subject.name,
        model=subject.model,
        weights=subject.weights,
        params=cost.params,
        nnz=cost.nnz,
        total=cost.total,
        macs_dense=cost.macs_dense,
        macs_effective=cost.macs_effective,
        dense_bytes=bytes_of.dense,
        packed_bytes=bytes_of.packed,
        deflated_bytes=bytes_of.deflated,
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
