"""An entry's checkpoint, once and for all: stored already, or fetched, verified and converted."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness import paths
from harness.checkpoints import converted_files, hashed_copies, pins, sources
from harness.checkpoints.advice import advising
from harness.checkpoints.converted_files import Obtained
from harness.checkpoints.hash_check import check_file, expected_sha256
from harness.errors import (
    CheckpointUnavailable,
    HashMismatch,
    RegistryError,
    StateWarning,
)
from harness.registry import Checkpoint, Entry
from harness.system import Reading, Silent, locked

if TYPE_CHECKING:
    from torch import nn

    from harness.checkpoints.downloading import Policy
    from harness.system import Progress

Status = Literal["stored", "by hand", "shipped", "local", "link", "none"]


def obtain(
    entry: Entry,
    *,
    from_file: Path | None = None,
    reading: Reading | None = None,
    data_root: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
    policy: Policy | None = None,
    model: Callable[[], nn.Module] | None = None,
) -> Obtained:
    """The entry's checkpoint: stored already, or fetched, verified, converted and stored.

    Where nothing is published, a file given by hand is all there is: from_file, or the last one
    given. from_file replaces the entry's sources, is labelled so and pinned nowhere; reading: of
    from_file. offline asks no host. progress sees one stage per download, in bytes. model: makes
    the entry's network; a file that does not fit it is neither stored nor pinned. Raises
    CheckpointUnavailable, HashMismatch, NotACheckpoint, UnsafePickle or KeyMismatch, each naming
    the entry and the next command; RegistryError if the entry itself is wrong. A failure leaves
    nothing but a download that can be continued.
    """
    folder = paths.checkpoint_store() / entry.id
    storing = _Storing(entry, folder, reading or Reading(), progress or Silent(), model)
    with advising(entry):
        if from_file is None:
            found = converted_files.intact(stored_copy(entry))
            if found is not None:
                return found
            if entry.checkpoint is None:
                raise CheckpointUnavailable("the registry knows no published checkpoint.")
        with locked(folder.with_name(f".{entry.id}.lock")), _tidy(folder):
            if from_file is not None:
                return storing.keep(sources.from_user(from_file, folder))
            # Another process may have been faster.
            found = converted_files.intact(stored_copy(entry))
            if found is not None:
                return found
            assert entry.checkpoint is not None, "checked above"
            request = _request(entry.checkpoint, folder, data_root, offline, policy, progress)
            return sources.deliver(request, storing.keep)


def status(entry: Entry) -> Status:
    """How the checkpoint can be had, without network: the cheapest way that would work."""
    try:
        here = stored_copy(entry)
    except RegistryError as error:  # registry.lock is damaged: whoever loads refuses, and says so
        warnings.warn(str(error), StateWarning, stacklevel=2)
        here = None
    if here is not None:
        return "by hand" if here.by_hand else "stored"
    return _elsewhere(entry)


def statuses(entries: Iterable[Entry]) -> dict[str, Status]:
    """The status of every entry by id; the store is listed once."""
    store = paths.checkpoint_store()
    kept = set(os.listdir(store)) if store.is_dir() else set()
    return {e.id: status(e) if e.id in kept else _elsewhere(e) for e in entries}


def _elsewhere(entry: Entry) -> Status:
    """The status of an entry of which the store has nothing."""
    checkpoint = entry.checkpoint
    if checkpoint is None:
        return "none"
    known = [sources.parse_source(source) for source in checkpoint.sources]
    for source in known:
        if isinstance(source, sources.LocalFile) and source.path(paths.data_root()).is_file():
            return "shipped" if isinstance(source, sources.ShippedFile) else "local"
    return "link" if any(isinstance(source, sources.RemoteFile) for source in known) else "none"


@dataclass(frozen=True, slots=True)
class _Storing:
    """How a delivered file becomes a stored one."""

    entry: Entry
    folder: Path
    reading: Reading
    progress: Progress
    model: Callable[[], nn.Module] | None

    def keep(self, file: sources.Delivered) -> Obtained:
        """Verify, convert, store, and pin at last. Raises CheckpointError; nothing is kept then."""
        wanted_sha256, who = expected_sha256(self.entry)
        format_id = _format(self.entry)
        if file.by_hand and self.reading.weights_format is not None:
            format_id = self.reading.weights_format
        check_file(self.entry.checkpoint, file, format_id, wanted_sha256, who)
        obtained = self._same(file, format_id)
        if obtained is None:
            obtained = self._converted(file, format_id, who)
            converted_files.write_record(obtained)
        if wanted_sha256 is None and not file.by_hand:
            try:
                pins.pin(self.entry.id, file.sha256, file.source)
            except HashMismatch:  # another home's process was faster, and had other bytes
                converted_files.discard(obtained)
                raise
        return obtained

    def _same(self, file: sources.Delivered, format_id: str) -> Obtained | None:
        """What is stored of these very bytes, unless they have become better known since."""
        found = converted_files.intact(converted_files.record(self.folder, file.sha256))
        if found is None or found.format != format_id or found.by_hand > file.by_hand:
            return None
        return found if self.reading.weights_key is None else None

    def _converted(self, file: sources.Delivered, format_id: str, proof: str) -> Obtained:
        """The file's tensors in the store. proof: who knows the hash of a file given by hand."""
        from harness.checkpoints.conversion import convert

        key = self.reading.weights_key if file.by_hand else None
        wanted = self.model().state_dict() if self.model is not None else None
        made = convert(file.path, wanted, Reading(format_id, key))
        notes = list(made.notes)
        if file.by_hand:
            notes.insert(0, f"given by hand, {f'the file of {proof}' if proof else 'unproven'}")
        for note in notes:
            self.progress.note(f"{self.entry.id}: {note}")
        path = converted_files.place(self.folder, file.sha256)
        checkpoint = self.entry.checkpoint
        return Obtained(
            path=path,
            reused=False,
            id=self.entry.id,
            source=file.source,
            format=format_id,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            obtained_at=datetime.now(UTC).isoformat(timespec="seconds"),
            last_modified=file.last_modified,
            license=checkpoint.license if checkpoint is not None else "the user's own",
            converted_sha256=converted_files.write_tensors(made.tensors, path),
            converted_size_bytes=path.stat().st_size,
            tensor_count=len(made.tensors),
            stated=made.stated,
            notes=notes,
        )


def _request(
    checkpoint: Checkpoint,
    folder: Path,
    data_root: Path | None,
    offline: bool,
    policy: Policy | None,
    progress: Progress | None,
) -> sources.Request:
    from harness.checkpoints.downloading import Policy

    root = data_root or paths.data_root()
    return sources.Request(checkpoint, folder, root, offline, policy or Policy(), progress)


def _format(entry: Entry) -> str:
    """The entry's format; that of the method's paper where nothing is published."""
    from harness.checkpoints.file_formats import FORMATS

    if entry.checkpoint is not None:
        return entry.checkpoint.format
    return entry.method if entry.method in FORMATS else "plain"


def stored_copy(entry: Entry) -> Obtained | None:
    """What the store says it has for the entry, not yet verified.

    Where no hash is known, that is the last file given by hand.
    """
    folder = paths.checkpoint_store() / entry.id
    sha256, _ = expected_sha256(entry)
    if sha256 is None:
        return converted_files.given(folder)
    found = converted_files.record(folder, sha256)
    if found is None or found.by_hand:
        return found
    return found if entry.checkpoint and found.format == entry.checkpoint.format else None


@contextmanager
def _tidy(folder: Path) -> Iterator[None]:
    """Run with `folder` in place; afterwards no half-written file lies there, nor an empty folder.

    Only downloads that can be continued stay (`*.part`); the download itself sees to that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in folder.glob(".*.part"):
            path.unlink()
        for path in folder.glob(f"{hashed_copies.PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)
        if not any(folder.iterdir()):
            folder.rmdir()
