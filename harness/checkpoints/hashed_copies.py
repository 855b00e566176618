"""Bytes copied once into a folder of ours while they are hashed: one read, one truth.

Whatever is found out about a file is found out about the copy, so that nobody can exchange the file
between two looks at it.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import CheckpointUnavailable

if TYPE_CHECKING:
    from hashlib import _Hash

PREFIX = "copy-"  # of the folders; what a killed process left of them is found by it
_BLOCK_BYTES = 1024**2


@dataclass(frozen=True, slots=True)
class Copy:
    """A file of ours. sha256: of all its bytes; under an index, of its files' bytes after it."""

    path: Path
    sha256: str
    size_bytes: int


def copy_into(folder: Path, path: Path) -> Copy:
    """A copy of `path` below `folder`; of an index of sharded safetensors with its files.

    Raises CheckpointUnavailable if it cannot be read or written, NotACheckpoint for a bad index.
    """
    inside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    digest = hashlib.sha256()
    try:
        first = inside / "file"
        size = _copied(path, first, digest)
        for name in _shards(first):
            size += _copied(path.with_name(name), inside / name, digest)
    except OSError as error:
        msg = f"{path.name} cannot be copied: {error.strerror or type(error).__name__}."
        raise CheckpointUnavailable(msg) from error
    return Copy(first, digest.hexdigest(), size)


@contextmanager
def copied(path: Path) -> Iterator[Copy]:
    """A copy of `path` that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="reprune-", ignore_cleanup_errors=True) as folder:
        yield copy_into(Path(folder), path)


def _copied(source: Path, target: Path, digest: _Hash) -> int:
    with source.open("rb") as original, target.open("xb") as copy:
        while block := original.read(_BLOCK_BYTES):
            digest.update(block)
            copy.write(block)
        return copy.tell()


def _shards(path: Path) -> list[str]:
    from harness.checkpoints.sniffing import is_index

    if not is_index(path):
        return []
    from harness.checkpoints.safetensors_files import shard_names

    return [name for name in shard_names(path) if name != path.name]
