"""One good file out of an entry's sources, tried in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from harness.checkpoints.hashed_copies import copy_into
from harness.checkpoints.sources.source import Delivered, Request
from harness.checkpoints.sources.spelling import parse_source
from harness.checkpoints.wording import shown
from harness.errors import (
    CheckpointError,
    CheckpointUnavailable,
    HashMismatch,
    KeyMismatch,
    NotACheckpoint,
    UnsafePickle,
)

T = TypeVar("T")


def deliver(request: Request, keep: Callable[[Delivered], T]) -> T:
    """What `keep` makes of the first source's file that it accepts.

    A source whose file is refused, for whatever reason, leaves the next one its chance. When all
    fail, the message says what each answered; its kind is that of wrong bytes if one sent some,
    else CheckpointUnavailable.
    """
    failures: list[tuple[str, CheckpointError]] = []
    for source in map(parse_source, request.checkpoint.sources):
        try:
            with source.fetch(request) as file:
                return keep(file)
        except CheckpointError as error:
            failures.append((source.label, error))
    answers = "; ".join(f"{name}: {str(error).rstrip('.')}" for name, error in failures)
    for kind in (HashMismatch, UnsafePickle, KeyMismatch, NotACheckpoint):
        if any(isinstance(error, kind) for _, error in failures):
            raise kind(f"{answers}.")
    wanted = f"a file of format {request.checkpoint.format!r}"
    if request.checkpoint.size_bytes:
        wanted += f" ({request.checkpoint.size_bytes} bytes)"
    raise CheckpointUnavailable(f"{wanted} is missing. {answers}.")


def from_user(path: Path, folder: Path) -> Delivered:
    """A copy below `folder` of a file that the user hands over."""
    if not path.is_file():
        raise CheckpointUnavailable(f"there is no file {str(path)!r}.")
    copy = copy_into(folder, path)
    return Delivered(copy.path, f"file:{shown(path.name)}", copy.sha256, copy.size_bytes)
