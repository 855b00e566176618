"""Result files by name and verdict. Imports nothing heavy: `bench list` lives on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from harness import paths
from harness.errors import MetricError

SCHEMA_VERSION: Literal[1] = 1


def files(folder: Path | None = None, entry: str = "*") -> list[Path]:
    """All result files, or those of one entry, oldest first."""
    base = folder or paths.results_folder()
    return sorted(base.glob(f"{entry}/*.json"), key=lambda path: path.name)


def last_verdicts(folder: Path | None = None) -> dict[str, str]:
    """Entry id -> status of its newest result, full ones first; reads as little as possible."""
    found: dict[str, str] = {}
    for file in files(folder):
        try:
            status = str(json.loads(file.read_bytes())["verdict"]["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise unreadable(file, f"{type(error).__name__}: {error}") from error
        if status != "smoke" or found.get(file.parent.name, "smoke") == "smoke":
            found[file.parent.name] = status
    return found


def unreadable(file: Path, problem: str) -> MetricError:
    """The error for a file that is no result of this schema."""
    return MetricError(
        f"{file.parent.name}/{file.name}: not a result of schema {SCHEMA_VERSION}: {problem}. "
        "Written by another version or edited by hand? Restore the file, or move it away."
    )
