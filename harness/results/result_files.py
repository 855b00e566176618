"""Result files by name. Imports nothing heavy: `bench list` lives on it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from harness import paths
from harness.errors import MetricError

SCHEMA_VERSION: Literal[1] = 1


def files(folder: Path | None = None, entry: str = "*") -> list[Path]:
    """All result files, or those of one entry, oldest first."""
    base = folder or paths.results_folder()
    return sorted(base.glob(f"{entry}/*.json"), key=lambda path: path.name)


def unreadable(file: Path, problem: str) -> MetricError:
    """The error for a file that is no result of this schema."""
    return MetricError(
        f"{file.parent.name}/{file.name}: not a result of schema {SCHEMA_VERSION}: {problem}. "
        "Written by another version or edited by hand? Restore the file, or move it away."
    )
