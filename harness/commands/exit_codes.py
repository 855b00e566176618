"""The documented exit codes, and the code of every error."""

from __future__ import annotations

from harness.errors import (
    BenchError,
    CheckpointError,
    DamagedFile,
    DataError,
    Preempted,
    ProtocolError,
    RegistryError,
)

UNEXPECTED, USAGE, VERDICT, CANNOT_CHECK, PREEMPTED = 1, 2, 3, 4, 5


_EXIT_CODES: tuple[tuple[type[BenchError], int], ...] = (
    (RegistryError, USAGE),
    (ProtocolError, USAGE),
    (CheckpointError, CANNOT_CHECK),
    (DataError, CANNOT_CHECK),
    (DamagedFile, CANNOT_CHECK),
    (Preempted, PREEMPTED),
    (BenchError, UNEXPECTED),
)


def exit_code(error: BenchError) -> int:
    """The documented exit code of an error."""
    return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
