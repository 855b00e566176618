"""The published AC/DC schedules in the words of the paper's configuration files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def phase_epochs(groups: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Epochs meant by the published `[start, freq, end]` groups, ascending; `end` is excluded."""
    return tuple(sorted({e for start, freq, end in groups for e in range(start, end, freq)}))
