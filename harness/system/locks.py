"""A lock between processes that the operating system releases when its holder dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import CheckpointUnavailable

WAIT_S = 3600.0  # a 2 GB file on a slow line takes about this long
POLL_S = 0.05


@contextmanager
def locked(
    path: Path, on_wait: Callable[[str], object] = lambda holder: None, wait_s: float = WAIT_S
) -> Iterator[None]:
    """Hold `path` exclusively; the file exists only while somebody holds or waits for it.

    on_wait: called once, with the holder's process id, when somebody else has it; may raise.
    The lock lives in the kernel, so a file left over by a killed process is free at once.
    Raises CheckpointUnavailable naming the holder when it is not free after `wait_s` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _acquire(path, on_wait, wait_s)
    try:
        yield
    finally:
        if sys.platform != "win32":  # an open file cannot be removed there
            path.unlink(missing_ok=True)
        os.close(handle)


def working_process(path: Path) -> int | None:
    """Process id of whoever holds the lock `path` on this machine; None if nobody alive does.

    Looks without touching the lock, so nobody who wants it is disturbed.
    """
    try:
        pid = int(holder(path))
        os.kill(pid, 0)
    except (ValueError, ProcessLookupError, OverflowError):
        return None
    except PermissionError:  # alive, of another user
        return pid
    return pid


def holder(path: Path) -> str:
    """Process id that the holder of `path` wrote into it, or "unknown"."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or "unknown"
    except OSError:
        return "unknown"


if sys.platform == "win32":
    import msvcrt

    def try_lock(handle: int) -> bool:
        """Whether the lock on this open file is ours now; never waits."""
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(handle: int) -> bool:
        """Whether the lock on this open file is ours now; never waits."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _acquire(path: Path, on_wait: Callable[[str], object], wait_s: float) -> int:
    deadline = None
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if try_lock(handle):
            if _still_there(handle, path):
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
                return handle
            os.close(handle)
            continue
        pid = holder(path)
        os.close(handle)
        if deadline is None:
            deadline = time.monotonic() + wait_s
            on_wait(pid)
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
