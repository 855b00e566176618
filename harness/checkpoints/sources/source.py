"""What every source of a file can do, whatever its scheme."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.registry import Checkpoint

if TYPE_CHECKING:
    from harness.checkpoints.downloading import Policy
    from harness.system import Progress


@dataclass(frozen=True, slots=True)
class Delivered:
    """Bytes in a file of ours, hashed and not yet opened."""

    path: Path
    source: str  # as the registry spells it, or file:NAME
    sha256: str
    size_bytes: int
    last_modified: str | None = None  # as the host stated it

    @property
    def by_hand(self) -> bool:
        """Whether somebody gave the file, instead of a source of the registry."""
        return self.source.startswith("file:")


@dataclass(frozen=True, slots=True)
class Request:
    """What to fetch and under which terms."""

    checkpoint: Checkpoint
    folder: Path  # for downloads and copies; exists
    data_root: Path
    offline: bool
    policy: Policy
    progress: Progress | None


@dataclass(frozen=True)
class Source(ABC):
    """One address of a file. text: as the registry spells it, prefix included."""

    prefixes: ClassVar[tuple[str, ...]]
    text: str

    @property
    def rest(self) -> str:
        """The address without its prefix."""
        return self.text.partition(":")[2]

    @property
    @abstractmethod
    def label(self) -> str:
        """What messages call it; of links the host alone."""

    @abstractmethod
    def fetch(self, request: Request) -> AbstractContextManager[Delivered]:
        """A copy of the file below the request's folder, gone afterwards. Raises CheckpointError.

        A download that can be continued stays.
        """
