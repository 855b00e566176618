"""Many entries from the registry to results: as few passes over the images as memory allows.

Entries with the same data set and evaluation form a group. A group's networks are loaded until the
device's memory is used, see the images together, and make room for the next ones. Every entry's
result is saved as soon as its pass is over, so a repeated command goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from harness.checkpoints import Obtained, model_from, obtain_checkpoint
from harness.data import EvaluationBatches, ImageSet, PictureSet, find_images
from harness.errors import BenchError, CheckpointUnavailable, DataError
from harness.evaluation.counting import count_weights, judged_by_weights
from harness.evaluation.live_network import evaluation_of, prepared_batches, with_missing_data
from harness.evaluation.result import checkpoint_facts
from harness.evaluation.shared_pass import Loaded, evaluate_loaded
from harness.registry import Entry, Evaluation, Registry
from harness.results import Result, on_record
from harness.system import Options

WEIGHTS_FRAC = 0.5  # of the memory that is free; the rest is for the activations of one network
UNKNOWN_MEMORY_BYTES = 4 * 2**30  # taken to be free where the system does not tell


Listener = Callable[[Result], None]  # hears of every result


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one entry: a result, new or already on record, or an error.

    Both where the images are missing and the weights alone were counted.
    """

    entry: Entry
    result: Result | None = None
    error: BenchError | None = None
    on_record: bool = False  # the result was stored before, under the same conditions

    @property
    def evaluated(self) -> Result | None:
        """The result, if images were seen."""
        return self.result if self.error is None else None


def reproduce_together(
    entries: Sequence[Entry],
    registry: Registry,
    options: Options,
    *,
    resume: bool,
    on_result: Listener | None = None,
) -> Iterator[Outcome]:
    """Evaluate the published checkpoints of `entries`; one outcome each, as soon as it is known.

    resume: an entry that is on record under the same conditions is not evaluated again.
    on_result: called with every result, new or on record, before its outcome is handed out.
    """
    for outcome in _outcomes(entries, registry, options, resume):
        if on_result is not None and outcome.result is not None:
            on_result(outcome.result)
        yield outcome


def reproduce_entry(
    entry: Entry, registry: Registry, options: Options, *, on_result: Listener | None = None
) -> Result:
    """Evaluate one published checkpoint, judge and save: a suite of one, always measured anew.

    Without the images, the result is that of the weights alone (mode "counted") where a printed
    figure follows from them. Raises CheckpointError, DataError, ProtocolError or MetricError;
    nothing is saved then.
    """
    (outcome,) = reproduce_together([entry], registry, options, resume=False, on_result=on_result)
    if outcome.result is None:
        assert outcome.error is not None
        raise outcome.error
    return outcome.result


def _outcomes(
    entries: Sequence[Entry], registry: Registry, options: Options, resume: bool
) -> Iterator[Outcome]:
    groups: dict[str, list[Entry]] = {}
    evaluations: dict[str, Evaluation] = {}
    for entry in entries:
        try:
            evaluation = evaluation_of(entry, registry, options.dataset)
        except BenchError as error:
            yield Outcome(entry, error=error)
            continue
        evaluations[evaluation.name] = evaluation
        groups.setdefault(evaluation.name, []).append(entry)
    for name, members in groups.items():
        yield from _Group(evaluations[name], registry, options, resume).outcomes(members)


class _Group:
    """Entries that are evaluated on the same images in the same way."""

    def __init__(
        self, evaluation: Evaluation, registry: Registry, options: Options, resume: bool
    ) -> None:
        self._evaluation, self._registry = evaluation, registry
        self._options, self._resume = options, resume
        self._images: ImageSet | PictureSet | DataError | None = None
        self._batches: EvaluationBatches | None = None

    def outcomes(self, entries: Sequence[Entry]) -> Iterator[Outcome]:
        """One outcome per entry, pass by pass."""
        waiting: list[Loaded] = []
        room = weights_budget(self._options.device)
        for entry in entries:
            try:
                ready = self._ready(entry)
            except BenchError as error:
                yield Outcome(entry, error=error)
                continue
            if isinstance(ready, Outcome):
                yield ready
                continue
            size = weight_bytes(ready.model)
            if waiting and size > room:
                yield from self._passed(waiting)
                waiting = []
                room = weights_budget(self._options.device)
            room -= size
            waiting.append(replace(ready, model=ready.model.to(self._options.device)))
        if waiting:
            yield from self._passed(waiting)

    def _ready(self, entry: Entry) -> Loaded | Outcome:
        """The entry's network on the CPU, or what is on record about it. Raises BenchError."""
        try:
            obtained = obtain_checkpoint(entry, self._options)
        except CheckpointUnavailable as error:
            raise with_missing_data(error, self._evaluation, self._options) from error
        model = model_from(entry, obtained)  # a file that does not fit needs no data set
        try:
            images = self._found_images()
        except DataError as error:
            if self._options.dataset is not None or not judged_by_weights(entry):
                raise
            loaded = Loaded(entry, model, checkpoint_facts(obtained))
            return Outcome(entry, count_weights(loaded, self._evaluation, self._registry), error)
        found = self._on_record(entry, obtained, images) if self._resume else None
        if found is not None:
            return Outcome(entry, found, on_record=True)
        return Loaded(entry, model, checkpoint_facts(obtained))

    def _also(self, entry: Entry) -> tuple[tuple[Evaluation, EvaluationBatches], ...]:
        """The images prepared as other places state it; none on another set or a part of it."""
        if entry.evaluation != self._evaluation.name or self._options.limit is not None:
            return ()
        images = self._found_images()
        stated = [self._registry.evaluations[name] for name in entry.also_stated]
        return tuple((each, prepared_batches(images, each, self._options)) for each in stated)

    def _found_images(self) -> ImageSet | PictureSet:
        """The group's images, looked for (or fetched) once. Raises DataError, each time."""
        if self._images is None:
            options = self._options
            try:
                self._images = find_images(
                    self._evaluation, options.data_root, download=not options.offline
                )
            except DataError as error:
                self._images = error
        if isinstance(self._images, DataError):
            raise self._images
        return self._images

    def _on_record(
        self, entry: Entry, obtained: Obtained, images: ImageSet | PictureSet
    ) -> Result | None:
        limit, options = self._options.limit, self._options
        total = images.identity.n_total
        return on_record(
            entry,
            self._evaluation,
            obtained.sha256,
            images.identity.fingerprint,
            total if limit is None else min(limit, total),
            options.device,
            options.fast,
        )

    def _passed(self, loaded: list[Loaded]) -> Iterator[Outcome]:
        """One pass. `loaded` is emptied, so that the networks' memory is free afterwards."""
        entries = [each.entry for each in loaded]
        try:
            found = self._evaluate(loaded)
        except DataError as error:
            found = [error] * len(entries)
        loaded.clear()
        for entry, each in zip(entries, found, strict=True):
            if isinstance(each, BenchError):
                yield Outcome(entry, error=each)
            else:
                yield Outcome(entry, each)

    def _evaluate(self, loaded: list[Loaded]) -> list[Result | BenchError]:
        if self._batches is None:
            images = self._found_images()
            self._batches = prepared_batches(images, self._evaluation, self._options)
        return evaluate_loaded(
            [replace(each, also=self._also(each.entry)) for each in loaded],
            self._evaluation,
            self._batches,
            self._registry,
            device=self._options.device,
            fast=self._options.fast,
            progress=self._options.progress,
        )


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    tensors = (*model.parameters(), *model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def weights_budget(device: str) -> int:
    """Bytes that weights may take on `device`: a fixed share of what is free now."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(torch.device(device))
        return int(free * WEIGHTS_FRAC)
    return int(_available_memory() * WEIGHTS_FRAC)


def _available_memory() -> int:
    """Bytes of main memory that can be had without swapping."""
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return UNKNOWN_MEMORY_BYTES
