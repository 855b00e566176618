"""What to type next when a checkpoint cannot be had, for each way in which that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import (
    CheckpointError,
    HashMismatch,
    KeyMismatch,
    NotACheckpoint,
    UnsafePickle,
)
from harness.registry import Entry


@contextmanager
def advising(entry: Entry) -> Iterator[None]:
    """Put the entry's id before, and the next command after, every checkpoint error."""
    try:
        yield
    except CheckpointError as error:
        raise type(error)(f"{entry.id}: {error} {_advice(error, entry)}") from error


def _advice(error: CheckpointError, entry: Entry) -> str:
    pull = f"bench pull {entry.id} --from FILE"
    where = f"links: bench show {entry.id}"
    if isinstance(error, HashMismatch):
        pinned = entry.checkpoint is not None and entry.checkpoint.sha256 is None
        where = f"delete the line of {entry.id} in registry.lock" if pinned else "correct the hash"
        return (
            f"Get the original file and run: {pull} - or, if its publisher replaced it and you "
            f"trust the new one, {where} and run: bench pull {entry.id}"
        )
    if isinstance(error, UnsafePickle):
        return f"Save its tensors alone where you trust it, then run: {pull}"
    if isinstance(error, KeyMismatch):
        return (
            f"Is it the file of another entry? What belongs here: bench show {entry.id} - "
            f"then run: {pull}"
        )
    if isinstance(error, NotACheckpoint):
        return f"Download it in a browser ({where}) and run: {pull}"
    train = f"bench reproduce {entry.id} --mode train"
    if entry.checkpoint is None:
        return f"Train it: {train}" if entry.recipe else f"See: bench show {entry.id}"
    return f"Get the file by hand ({where}) and run: {pull}" + (
        f" - or train it: {train}" if entry.recipe else ""
    )
