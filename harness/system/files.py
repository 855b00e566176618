"""Files that are there whole or not at all, whenever the program is killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.errors import MetricError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to, which takes its place when the block ends well."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def replace_file(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file in the place of `target`, which may exist."""
    with replacing(target) as part, open(part, "wb") as file:
        write(file)


def replace_text(target: Path, text: str) -> None:
    """Write `text` in the place of `target`, which may exist."""
    with replacing(target) as part:
        part.write_text(text, encoding="utf-8")


def publish(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file that is never changed. Raises MetricError if `target` exists."""
    if target.exists():
        msg = f"{target.name} exists already; results are append-only"
        raise MetricError(msg)
    replace_file(target, write)
