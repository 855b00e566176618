"""What every verb can meet on a machine: no room, no memory, no permission, a foreign package.

Each is one line that says what failed and what to do. Nothing is half-written then: files take
their places whole.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness import paths

_OF_RUST = re.compile(r"\(os error (\d+)\)")  # safetensors' errors carry the number in their text
_NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|bad_alloc|failed to map segment",
    re.IGNORECASE,
)
# Where memory is limited, oneDNN and threads say no more than this of a failed allocation.
_NO_MEMORY_UNDER_A_LIMIT = re.compile(
    r"could not (create|execute) a primitive|can't start new thread"
)


def machine_problem(error: BaseException) -> str | None:
    """One line on a limit of this machine behind `error`; None if there is none."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and (message := paths.complaint(cause)):
            return message
        if _lacks_memory(cause):
            return "not enough memory: end other programs, or raise the limit (ulimit -v)"
    from harness.system import broken_pair

    return broken_pair(error)


@contextmanager
def memory_errors_said_once() -> Iterator[None]:
    """C code that cannot raise prints a MemoryError with its traceback; the one it leads to is said
    in one line.
    """
    hook = sys.unraisablehook

    def said(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, MemoryError):
            hook(unraisable)

    sys.unraisablehook = said
    try:
        yield
    finally:
        sys.unraisablehook = hook


def _lacks_memory(error: BaseException) -> bool:
    said = str(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(said):
        return True
    # Python's own C code loses the error of a failed allocation, and ends in a SystemError.
    unclear = isinstance(error, SystemError) or _NO_MEMORY_UNDER_A_LIMIT.search(said)
    return bool(unclear) and _is_memory_limited()


def _is_memory_limited() -> bool:
    try:
        import resource
    except ImportError:  # Windows
        return False
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(kind)[0] != resource.RLIM_INFINITY for kind in limits)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it came from: torch and safetensors hide the system's error in their own."""
    while error is not None:
        yield error
        number = _OF_RUST.search(str(error))
        if number and not isinstance(error, OSError):
            yield OSError(int(number[1]), os.strerror(int(number[1])))
        error = error.__cause__ or error.__context__
