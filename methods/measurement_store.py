"""Where a method keeps the finished parts of a slow measurement; the caller decides where that is.

A method that measures for minutes hands over every part as it is done and asks for known ones
first, so that an interrupted event goes on where it stopped and a repeated one costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor


class MeasurementStore(Protocol):
    """Named tensors under a key that hashes everything they depend on."""

    def load(self, key: str) -> Mapping[str, Tensor]:
        """The parts saved under `key`, on the CPU; empty if there are none."""

    def save(self, key: str, name: str, part: Tensor) -> None:
        """Keep one finished part, so that a kill at any moment loses at most this one."""

    def forget(self, key: str) -> None:
        """Drop everything saved under `key`: the measurement has failed."""

    def progress(self, done: int, total: int) -> None:
        """`done` of `total` units of the running measurement are finished."""

    def note(self, text: str) -> None:
        """One line that the user should read."""


@runtime_checkable
class StoresMeasurements(Protocol):
    """A method that uses a store when it is given one before `prune`."""

    store: MeasurementStore | None

    @property
    def activity(self) -> str:
        """What takes the time, for a progress bar."""
