"""Files that are written once, under their final name, and never changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from harness.errors import MetricError


def publish(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary name and rename: a reader never sees half a file.

    Raises MetricError if `target` exists.
    """
    if target.exists():
        msg = f"{target.name} exists already; results are append-only"
        raise MetricError(msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def replace_text(target: Path, text: str) -> None:
    """Write `text` to a temporary name and put it in `target`'s place, which may exist."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
