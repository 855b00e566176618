"""One good file out of an entry's sources, tried in order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from harness import paths
from harness.checkpoints.copies import copy_into
from harness.checkpoints.wording import shown
from harness.errors import (
    CheckpointError,
    CheckpointUnavailable,
    HashMismatch,
    KeyMismatch,
    NotACheckpoint,
    RegistryError,
    UnsafePickle,
)
from harness.registry import Checkpoint

if TYPE_CHECKING:
    from harness.checkpoints.downloading import Policy, Report
    from harness.system import Progress

T = TypeVar("T")

ERROR_PAGE_BYTES = 1024 * 1024  # room for a host's error page where the file itself is smaller


@dataclass(frozen=True, slots=True)
class Delivered:
    """Bytes in a file of ours, hashed and not yet opened."""

    path: Path
    source: str  # as the registry spells it, or file:NAME
    sha256: str
    size_bytes: int
    last_modified: str | None = None  # as the host stated it

    @property
    def by_hand(self) -> bool:
        """Whether somebody gave the file, instead of a source of the registry."""
        return self.source.startswith("file:")


@dataclass(frozen=True, slots=True)
class Request:
    """What to fetch and under which terms."""

    checkpoint: Checkpoint
    folder: Path  # for downloads and copies; exists
    data_root: Path
    offline: bool
    policy: Policy
    progress: Progress | None


def deliver(request: Request, keep: Callable[[Delivered], T]) -> T:
    """What `keep` makes of the first source's file that it accepts.

    A source whose file is refused, for whatever reason, leaves the next one its chance. When all
    fail, the message tells what each answered; its kind is that of wrong bytes if one sent some,
    else CheckpointUnavailable.
    """
    failures: list[tuple[str, CheckpointError]] = []
    for source in request.checkpoint.sources:
        try:
            return _fetched(source, request, keep)
        except CheckpointError as error:
            failures.append((label(source), error))
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


def local_path(source: str, data_root: Path) -> Path | None:
    """Where a data: or shipped: source lies, whether or not it exists; None for links.

    Raises RegistryError if the source points outside its root.
    """
    scheme, _, name = source.partition(":")
    if scheme == "data":
        return _below(data_root, name, source)
    if scheme == "shipped":
        return _below(paths.shipped_checkpoints(), name, source)
    return None


def label(source: str) -> str:
    """How a source is called in messages: host names only, no whole URLs."""
    scheme, _, rest = source.partition(":")
    if scheme in ("http", "https"):
        return urlsplit(source).hostname or scheme
    return {"gdrive": "drive.google.com", "shipped": f"shipped {rest}"}.get(scheme, source)


def digest(path: Path) -> str:
    """sha256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetched(source: str, request: Request, keep: Callable[[Delivered], T]) -> T:
    local = local_path(source, request.data_root)
    if local is not None:
        if not local.is_file():
            hint = (
                "set --data-root or BENCH_DATA_ROOT" if source.startswith("data:") else "reinstall"
            )
            raise CheckpointUnavailable(f"no such file; {hint}")
        copy = copy_into(request.folder, local)
        return keep(Delivered(copy.path, source, copy.sha256, copy.size_bytes))
    if request.offline:
        raise CheckpointUnavailable("not asked (offline)")
    part = request.folder / f"{hashlib.sha256(source.encode()).hexdigest()[:8]}.part"
    last_modified = _receive(source, part, request)
    try:
        size = part.stat().st_size
        return keep(Delivered(part, source, digest(part), size, last_modified))
    finally:  # it is converted, or cannot be
        part.unlink()
        part.with_name(part.name + ".json").unlink(missing_ok=True)


def _receive(source: str, part: Path, request: Request) -> str | None:
    from harness.checkpoints.downloading import download, download_from_drive

    size = request.checkpoint.size_bytes
    limit = request.policy.max_bytes if size is None else max(size, ERROR_PAGE_BYTES)
    report = _reporter(request.progress, f"download from {label(source)}")
    if source.startswith("gdrive:"):
        download_from_drive(source.removeprefix("gdrive:"), part, limit, report)
        return None
    return download(source, part, request.policy, limit, report)


def _reporter(progress: Progress | None, text: str) -> Report | None:
    """Bytes done so far -> steps of a progress bar; a download that starts over, starts a bar."""
    if progress is None:
        return None
    seen = 0

    def report(done: int, total: int | None) -> None:
        nonlocal seen
        if seen == 0 or done < seen:
            progress.stage(text, total)
            seen = 0
        progress.advance(done - seen)
        seen = done

    return report


def _below(root: Path, name: str, source: str) -> Path:
    # Links inside the root may lead elsewhere: that is how people keep data on another disk.
    relative = PurePosixPath(name)
    if not name or relative.is_absolute() or ".." in relative.parts or "\\" in name or ":" in name:
        msg = (
            f"checkpoint source {source!r} leaves the folder it is relative to. "
            "Correct the entry's sources in registry.yaml."
        )
        raise RegistryError(msg)
    return root / relative
