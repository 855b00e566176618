"""stdout and stderr that may be closed, full, or gone with their terminal."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Output:
    """stdout, which remembers the error of a write that failed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        return int(self._tried(self._stream.write, text))

    def flush(self) -> None:
        self._tried(self._stream.flush)

    def _tried(self, action: Any, *given: str) -> Any:
        try:
            return action(*given)
        except OSError as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Log:
    """stderr: progress that nobody can read any more must not end the work that it is about."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _throw_away(self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def watched_streams() -> Iterator[None]:
    """Run with sys.stdout an Output and sys.stderr a Log; closed ones lead nowhere."""
    before = sys.stdout, sys.stderr
    sys.stdout = Output(before[0] or open(os.devnull, "w"))
    sys.stderr = Log(before[1] or open(os.devnull, "w"))
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def lost_output() -> str | None:
    """Why stdout takes no more, in one line, with the rest thrown away; None if it is fine."""
    error = getattr(sys.stdout, "error", None)
    if error is None:
        return None
    _throw_away(sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return "the output was closed before its end"
    return f"the output cannot be written: {error.strerror}"


def _throw_away(handle: int) -> None:
    """What is still held back for `handle` would fail once more when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, handle)
    os.close(nowhere)
