"""How long work reports itself. The command line draws bars; a library caller may pass nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what is going on. Implementations must be cheap: they run between batches."""

    def stage(self, text: str, total: int | None = None) -> None:
        """A new stage begins; `total` units of work if known."""

    def advance(self, amount: int = 1, **facts: float) -> None:
        """`amount` more units are done; facts such as loss or top1_pct are shown beside the bar."""

    def note(self, text: str) -> None:
        """One line worth keeping."""


class Silent:
    """Says nothing."""

    def stage(self, text: str, total: int | None = None) -> None:
        """Ignore."""

    def advance(self, amount: int = 1, **facts: float) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
