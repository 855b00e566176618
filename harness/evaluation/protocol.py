"""The standardized evaluation: float32, no TF32, no autotuning, integer counts, one division."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from harness.data import Batch, EvaluationBatches
from harness.errors import MetricError
from harness.results import Counts
from harness.system import (
    gather_interleaved,
    rank,
    sum_over_processes,
    verdict_precision,
    world_size,
)

KEEP_S = 60.0  # a killed process loses at most this much work


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Counts over the split, the predicted class of every image in order, and the model's time."""

    counts: Counts
    predictions: np.ndarray  # (N,) uint16
    forward_s: float  # spent in the model alone


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    progress: Callable[[int], None] | None = None,
) -> Evaluated:
    """Count correct predictions of `model` over `batches` of (images, labels) on its device.

    Under torchrun each process takes every world_size-th batch; all of them return the whole.

    Top-k ties are broken by class index, so constant logits score 1/classes, not 1. The loss is the
    mean cross-entropy, summed in float64. `progress` receives the number of images of each batch;
    nothing synchronises with the device until the end.
    Raises MetricError if there are no images or a logit is not finite.
    """
    (found,) = evaluate_together([model], batches, progress)
    if isinstance(found, Exception):
        raise found
    return found


class Partial(Protocol):
    """Keeps what was counted so far, for a process that may be killed."""

    def load(self) -> dict[str, np.ndarray] | None:
        """What was kept last, or None."""

    def useless(self, error: Exception) -> None:
        """What was loaded is no state of an evaluation."""

    def keep(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace it."""


@torch.inference_mode()
def evaluate_together(
    models: Sequence[nn.Module],
    batches: Iterable[Batch],
    progress: Callable[[int], None] | None = None,
    precision: Callable[[], AbstractContextManager[None]] | None = None,
    partial: Sequence[Partial] = (),
) -> list[Evaluated | Exception]:
    """What `evaluate` finds for each of `models`, in one pass over `batches`.

    A model that fails leaves its error in its place and the others alone; only running out of
    memory ends the pass, since that may be the others' doing. precision: verdict_precision unless
    another one is asked for. partial: one per model; each goes on where it was last kept. Needs
    EvaluationBatches and a single process. Raises torch.OutOfMemoryError.
    """
    tallies = [_Tally(model) for model in models]
    for tally, kept in zip(tallies, partial, strict=False):
        try:
            tally.restore(kept.load())
        except (KeyError, TypeError, ValueError) as error:
            kept.useless(error)
    start = min((tally.batches for tally in tallies), default=0)
    passing = batches.passing(start) if isinstance(batches, EvaluationBatches) else iter(batches)
    if start and progress is not None and isinstance(batches, EvaluationBatches):
        progress(min(start * batches.batch_size, batches.n))
    kept_at = time.monotonic()
    with (precision or verdict_precision)():
        for number, (images, labels) in enumerate(
            islice(passing, rank(), None, world_size()), start
        ):
            for tally in tallies:
                if tally.batches <= number:
                    tally.add(images, labels)
            if progress is not None:
                progress(len(labels))
            if all(tally.error for tally in tallies):
                break
            if partial and time.monotonic() - kept_at > KEEP_S:
                for tally, keeper in zip(tallies, partial, strict=True):
                    keeper.keep(tally.state())
                kept_at = time.monotonic()
        return [tally.evaluated() for tally in tallies]


class _Tally:
    """One model's counts so far, or the error that ended it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval()
        self.error: Exception | None = None
        self.writes_input: bool | None = None  # None: not known before the first batch
        self.n = self.batches = 0
        self.sums: Tensor | None = None
        self.predictions: list[Tensor] = []
        self.clock = _Clock()
        if any(module.training for module in model.modules()):
            msg = "a submodule stays in training mode after model.eval(); evaluation would be noisy"
            self.error = MetricError(msg)

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Count one batch; `images` are left as they are."""
        if self.error is not None:
            return
        try:
            logits = self._logits(images)
            part = _count(logits, labels)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if world_size() > 1:  # the other processes would wait for this one for ever
                raise
            self.error = error
            return
        self.sums = part if self.sums is None else self.sums + part
        self.predictions.append(logits.argmax(1).to(torch.int32))
        self.n += len(labels)
        self.batches += 1

    def state(self) -> dict[str, np.ndarray]:
        """Everything counted so far; {} once there is an error. Waits for the device."""
        if self.error is not None or self.sums is None:
            return {}
        return {
            "position": np.array([self.batches, self.n]),
            "sums": self.sums.cpu().numpy(),
            "predictions": torch.cat(self.predictions).cpu().numpy(),
            "forward_s": np.array(self.clock.seconds()),
        }

    def restore(self, state: dict[str, np.ndarray] | None) -> None:
        """Go on from `state`. Raises KeyError, TypeError or ValueError if it is none."""
        if not state:
            return
        device = next(self.model.parameters()).device
        batches, n = (int(value) for value in state["position"])
        sums = torch.from_numpy(state["sums"].reshape(4).astype(np.float64, casting="safe"))
        given = torch.from_numpy(state["predictions"].reshape(n).astype(np.int32, casting="safe"))
        self.clock = _Clock(float(state["forward_s"]))
        self.batches, self.n = batches, n
        self.sums, self.predictions = sums.to(device), [given.to(device)]

    def _logits(self, images: Tensor) -> Tensor:
        # Whoever writes into the images does so every time: one look at the first batch will do.
        given = images.clone() if self.writes_input is not False else images
        with self.clock.running(images.device):
            logits: Tensor = self.model(given).float()
        if self.writes_input is None:
            self.writes_input = not torch.equal(given, images)
        return logits

    def evaluated(self) -> Evaluated | Exception:
        """The whole, over all processes; the one place that waits for the device."""
        if self.error is not None:
            return self.error
        if self.sums is None and world_size() == 1:
            return MetricError("no images to evaluate: the split is empty or the limit is 0")
        device = next(self.model.parameters()).device
        total, top1, top3, top5, loss = _over_processes(self.n, self.sums, device)
        if not np.isfinite(loss):
            what = f"the loss over {total:.0f} images is {loss}"
            return MetricError(f"{what}: the network produces non-finite logits")
        counts = Counts(n=int(total), top1=int(top1), top3=int(top3), top5=int(top5), loss_sum=loss)
        everything = torch.cat(gather_interleaved(self.predictions))
        predictions = everything.cpu().numpy().astype(np.uint16)
        return Evaluated(counts, predictions, self.clock.seconds())


class _Clock:
    """Time spent in a model, without waiting for the device before the end."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
            self._events.append((start, end))
            return
        began = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - began

    def seconds(self) -> float:
        """The sum; waits for the device."""
        if self._events:
            torch.cuda.synchronize()
        return self._seconds + sum(start.elapsed_time(end) for start, end in self._events) / 1000


def _over_processes(n: int, sums: Tensor | None, device: torch.device) -> list[float]:
    """(n, top1, top3, top5, loss) over all processes."""
    own = torch.zeros(4, dtype=torch.float64, device=device) if sums is None else sums
    total: list[float] = sum_over_processes(torch.cat([own.new_tensor([n]), own])).tolist()
    return total


def _count(logits: Tensor, labels: Tensor) -> Tensor:
    """(top1, top3, top5, loss) sums of one batch as float64 on the device; counts stay exact."""
    target = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    rank = ((logits > target) | ((logits == target) & earlier)).sum(1)
    losses = F.cross_entropy(logits, labels, reduction="none").double()
    hits = torch.stack([(rank < k).sum() for k in (1, 3, 5)]).double()
    return torch.cat([hits, losses.sum()[None]])
