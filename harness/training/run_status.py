"""What a run shows to whoever looks from outside, without loading torch: its lock, its progress."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def lock_of(folder: Path) -> Path:
    """The lock that whoever works in a run's folder holds."""
    entry = folder.parent
    return entry.parent / ".locks" / f"{entry.name}-{folder.name}.lock"


def read_progress(folder: Path) -> Mapping[str, Any] | None:
    """What progress.json says; None for a run that never wrote one."""
    try:
        found: dict[str, Any] = json.loads((folder / "progress.json").read_text())
    except (OSError, ValueError):
        return None
    return found
