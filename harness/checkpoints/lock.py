"""The lock around a download: waited for so long, and nothing is left of it afterwards."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import CheckpointUnavailable
from harness.file_lock import holder, try_lock

WAIT_S = 3600.0  # a 2 GB file on a slow line takes about this long
POLL_S = 0.05


@contextmanager
def locked(path: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold `path` exclusively; the file exists only while somebody holds or waits for it.

    The lock lives in the kernel, so a file left over by a killed process is free at once.
    Raises CheckpointUnavailable naming the holder when it is not free after `wait_s` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _acquire(path, time.monotonic() + wait_s, wait_s)
    try:
        yield
    finally:
        if sys.platform != "win32":  # an open file cannot be removed there
            path.unlink(missing_ok=True)
        os.close(handle)


def _acquire(path: Path, deadline: float, wait_s: float) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if try_lock(handle) and _still_there(handle, path):
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            return handle
        pid = holder(path)
        os.close(handle)
        if time.monotonic() > deadline:
            msg = (
                f"another process (pid {pid}) still holds {path.name} after {wait_s:.0f} s. "
                "Wait for it, or end it and try again."
            )
            raise CheckpointUnavailable(msg)
        time.sleep(POLL_S)


def _still_there(handle: int, path: Path) -> bool:
    """False when the previous holder removed the file between our open and our lock."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
