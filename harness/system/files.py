"""Files that are there whole or not at all, whenever the program is killed."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from harness.errors import MetricError

# A home may be shared by machines, whose processes have the same numbers.
_MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to, which takes its place when the block ends well.

    A link stays one: what it leads to is replaced. Raises FileExistsError for a device, a pipe or
    a folder: what replaced /dev/null would be missed. What killed processes of this machine left
    in the same folder is removed.
    """
    target = target.resolve() if target.is_symlink() else target
    if target.exists() and not target.is_file():
        raise FileExistsError(errno.EEXIST, "not a regular file", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{_MACHINE}-{os.getpid()}.part")
    remove_leftovers(target.parent)
    try:
        yield part
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine had begun to write in `folder`."""
    for leftover in folder.glob(f".*.{_MACHINE}-*.part"):
        if not _runs(leftover.stem.rpartition("-")[2]):
            leftover.unlink(missing_ok=True)


def _runs(process: str) -> bool:
    """Whether the process of this id is there; True where that cannot be asked."""
    if sys.platform == "win32" or not process.isdecimal():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


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
