"""Result files by name. Imports nothing heavy: `bench list` lives on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from harness import paths
from harness.errors import MetricError

SCHEMA_VERSION: Literal[2] = 2


def files(folder: Path | None = None, entry: str = "*") -> list[Path]:
    """All result files, or those of one entry, oldest first."""
    base = folder or paths.results_folder()
    return sorted(base.glob(f"{entry}/*.json"), key=lambda path: path.name)


def as_today(document: Any) -> dict[str, Any]:
    """A stored document in today's schema. Raises KeyError, TypeError or ValueError if it is none.

    Other versions than the first and today's are left as they are, for the reader to refuse.
    """
    if document["schema_version"] == 1:
        from harness.results.version_1 import upgraded

        return upgraded(document)
    return dict(document)


def unreadable(file: Path, problem: str) -> MetricError:
    """The error for a file that is no result of this schema."""
    return MetricError(
        f"{file.parent.name}/{file.name}: not a result of schema {SCHEMA_VERSION}: {problem}. "
        "Written by another version or edited by hand? Restore the file, or move it away."
    )
