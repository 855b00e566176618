"""Ways to the logits of a network in which one weight is replaced.

`Replay` runs what the weight reaches, `FullForward` the whole model; `runner_for` takes the first
that works. Neither touches the model's own tensors. Call them without gradients, in eval mode.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import Node

from methods.rate_distortion.replay import Recording, Suffix, Unrecordable

# A recording is trusted if its logits are the model's own. On the CPU they are to the bit; other
# devices may pick another kernel: rounding of float32, relative to the largest logit.
RECORDING_RTOL = 1e-5

Transform = Callable[[Tensor], Tensor]
Redraw = Callable[[str], Transform]


class Part(Protocol):
    """A part of the network that depends on one weight."""

    @property
    def start(self) -> int:
        """Where it begins in the order of execution."""

    @property
    def cost(self) -> int:
        """Operations in it; 0 if the weight never reaches the logits."""


class Runner(Protocol):
    """Something that gives logits for a changed weight."""

    def part(self, parameter: str) -> Part:
        """What depends on the parameter of that name."""

    def logits(self, part: Part, batch: int) -> Callable[[Tensor], Tensor]:
        """weight -> logits of one batch, everything else unchanged."""


@dataclass(frozen=True)
class FullPass:
    """The whole network, whichever weight it is about."""

    parameter: str
    transform: Transform  # of the images, before every pass
    start: int = 0
    cost: int = 1


class FullForward:
    """Runs the whole model for every weight: slow, and right for any model."""

    def __init__(
        self, model: nn.Module, batches: list[Tensor], redraw: Redraw | None = None
    ) -> None:
        """redraw: name of a parameter -> what is done to the images before each of its passes."""
        self._model, self._batches = model, batches
        self._redraw = redraw or (lambda parameter: _unchanged)

    def part(self, parameter: str) -> FullPass:
        return FullPass(parameter, self._redraw(parameter))

    def logits(self, part: Part, batch: int) -> Callable[[Tensor], Tensor]:
        assert isinstance(part, FullPass)
        images, name, transform = self._batches[batch], part.parameter, part.transform
        return lambda weight: functional_call(self._model, {name: weight}, (transform(images),))


def _unchanged(images: Tensor) -> Tensor:
    return images


class Replay:
    """Runs only what the weight reaches, from values computed once per layer and batch."""

    def __init__(
        self, recordings: dict[int, Recording], batches: list[Tensor], memory_budget_bytes: int
    ) -> None:
        self._recordings, self._batches = recordings, batches
        self._budget = memory_budget_bytes
        self._kept: list[dict[Node, Tensor]] = [{} for _ in batches]
        self._bytes = [0] * len(batches)

    def part(self, parameter: str) -> Suffix:
        return self._recording(0).suffix(parameter)

    def logits(self, part: Part, batch: int) -> Callable[[Tensor], Tensor]:
        assert isinstance(part, Suffix)
        recording = self._recording(batch)
        suffix = recording.suffix(part.parameter)
        values = self._kept[batch] or {recording.images: self._batches[batch]}
        inputs = recording.inputs(suffix, values)
        self._keep(batch, values)
        return lambda weight: suffix.run(*inputs, weight)

    def _recording(self, batch: int) -> Recording:
        return self._recordings[len(self._batches[batch])]

    def _keep(self, batch: int, values: dict[Node, Tensor]) -> None:
        size = sum(value.nbytes for value in values.values() if isinstance(value, Tensor))
        others = sum(self._bytes) - self._bytes[batch]
        fits = others + size <= self._budget
        self._kept[batch] = values if fits else {}
        self._bytes[batch] = size if fits else 0


def runner_for(
    model: nn.Module, batches: list[Tensor], dense: list[Tensor], memory_budget_bytes: int
) -> FullForward | Replay:
    """The fastest runner that gives the model's own logits; warns when it is the slow one.

    batches: on the model's device; dense: the model's logits of each.
    """
    recordings: dict[int, Recording] = {}
    try:
        for images, expected in zip(batches, dense, strict=True):
            if len(images) not in recordings:
                recording = Recording(model, images)
                if not _agree(recording.logits(images), expected):
                    raise Unrecordable("its recorded forward pass gives other logits")
                recordings[len(images)] = recording
    except Unrecordable as reason:
        msg = f"{type(model).__name__}: {reason}; measuring with full forward passes, about twice"
        warnings.warn(f"{msg} as slow. The curves are the same.", stacklevel=3)
        return FullForward(model, batches)
    return Replay(recordings, batches, memory_budget_bytes)


def _agree(recorded: Tensor, expected: Tensor) -> bool:
    largest = float(expected.abs().max())
    return torch.allclose(recorded, expected, rtol=0.0, atol=RECORDING_RTOL * largest)
