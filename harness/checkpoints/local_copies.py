"""The local store: every published checkpoint once, converted, with its provenance.

<store>/<id>/<first 16 digits of the file's sha256>.safetensors holds plain names, .json beside it
tells where the bytes came from. The original file is not kept: with its optimizer state it is up to
twice as large, and its pinned sha256 proves any later copy to be the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness import paths
from harness.checkpoints import pins, sources
from harness.errors import (
    CheckpointError,
    CheckpointUnavailable,
    HashMismatch,
    KeyMismatch,
    NotACheckpoint,
    UnsafePickle,
)
from harness.registry import Checkpoint, Entry
from harness.system import locked

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.checkpoints.downloading import Policy
    from harness.system import Progress

CONVERTER_VERSION = 1  # raise it when a converter's output changes: stored files are made anew

Status = Literal["stored", "shipped", "local", "link", "none"]


@dataclass(frozen=True, slots=True)
class Obtained:
    """A verified, converted checkpoint and where it comes from; facts hold no absolute path."""

    path: Path  # safetensors, below the store
    reused: bool  # True: it was in the store already
    id: str
    source: str  # as the registry spells it, or file:NAME for a user's file
    format: str
    sha256: str  # of the original bytes
    size_bytes: int  # of the original file
    obtained_at: str  # ISO 8601, UTC
    last_modified: str | None  # as the host stated it
    license: str
    converted_sha256: str  # of the safetensors file
    converted_size_bytes: int
    tensor_count: int  # in the converted file
    stated: dict[str, int | float | str]  # what the file says of itself: epoch, best accuracy, ...
    converter_version: int = CONVERTER_VERSION

    def provenance(self) -> dict[str, Any]:
        """Everything but where the file lies here, ready for JSON."""
        facts = asdict(self)
        return {name: facts[name] for name in facts if name not in ("path", "reused")}

    def tensors(self) -> dict[str, Tensor]:
        """Plain state dict of the model, on the CPU."""
        return _of_the_network(dict(self._read()))

    def heads(self) -> dict[str, Tensor]:
        """Gate heads of a dynamic method: `<gated layer>.{weight,bias}`; empty for all others."""
        return {
            name.removeprefix("heads."): value
            for name, value in self._read()
            if name.startswith("heads.")
        }

    def _read(self) -> Iterator[tuple[str, Tensor]]:
        from harness.checkpoints.load import read_safetensors

        yield from read_safetensors(self.path).items()


def _of_the_network(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All but the gate heads of a dynamic method."""
    return {name: value for name, value in tensors.items() if not name.startswith("heads.")}


def obtain(
    entry: Entry,
    *,
    from_file: Path | None = None,
    data_root: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
    policy: Policy | None = None,
    model: Callable[[], nn.Module] | None = None,
) -> Obtained:
    """The entry's checkpoint: stored already, or fetched, verified, converted and stored.

    Where nothing is published, the user's file is all there is: from_file, or the last one given.
    from_file replaces the entry's sources. offline asks no host. progress sees one stage per
    download, in bytes. model: makes the entry's network; a file that does not fit it is neither
    stored nor pinned. Raises CheckpointUnavailable, HashMismatch, NotACheckpoint,
    UnsafePickle or KeyMismatch, each naming the entry and the next command; RegistryError if the
    entry itself is wrong. A failure leaves nothing but a download that can be continued.
    """
    with _advising(entry):
        entry = _with_users_file(entry, from_file)
        checkpoint = entry.checkpoint
        if checkpoint is None:
            raise CheckpointUnavailable("the registry knows no published checkpoint.")
        if from_file is None:
            stored = _stored(entry)
            if stored is not None:
                return stored
        folder = paths.checkpoint_store() / entry.id
        with locked(folder.with_name(f".{entry.id}.lock")), _tidy(folder):
            stored = _stored(entry)  # another process may have been faster
            if stored is not None and from_file is None:
                return stored
            accept = _acceptance(entry, checkpoint)
            if from_file is not None:
                file = sources.from_user(from_file, accept)
            else:
                request = _request(checkpoint, folder, data_root, offline, policy, progress, accept)
                file = sources.deliver(request)
            if stored is not None and stored.sha256 == file.sha256:
                return stored
            with _used_up(folder):
                return _keep(entry, checkpoint, folder, file, model)


def status(entry: Entry, data_root: Path | None = None) -> Status:
    """How the checkpoint can be had, without network: the cheapest way that would work."""
    checkpoint = entry.checkpoint
    if checkpoint is None:
        return "none"
    if _record(entry) is not None:
        return "stored"
    root = data_root or paths.data_root()
    local = [(s, sources.local_path(s, root)) for s in checkpoint.sources]
    there = [source for source, path in local if path is not None and path.is_file()]
    if there:
        return "shipped" if there[0].startswith("shipped:") else "local"
    return "link" if any(path is None for _, path in local) else "none"


def _with_users_file(entry: Entry, from_file: Path | None) -> Entry:
    """`entry` with a user's file as its checkpoint, if none is published and there is one.

    Its format is that of the method's paper. It is verified against itself and pinned nowhere: a
    better trained one may replace it.
    """
    from harness.checkpoints.file_formats import FORMATS

    if entry.checkpoint is not None:
        return entry
    if from_file is not None:
        if not from_file.is_file():
            raise CheckpointUnavailable(f"there is no file {str(from_file)!r}.")
        name, sha256 = from_file.name, sources.digest(from_file)
    else:
        records = (paths.checkpoint_store() / entry.id).glob("*.json")
        newest = max(records, key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None:
            return entry
        facts = json.loads(newest.read_text(encoding="utf-8"))
        name, sha256 = str(facts["source"]).removeprefix("file:"), str(facts["sha256"])
    held = Checkpoint(
        sources=(f"data:{name}",),
        format=entry.method if entry.method in FORMATS else "plain",
        sha256=sha256,
        license="the user's own",
    )
    return replace(entry, checkpoint=held)


def _request(
    checkpoint: Checkpoint,
    folder: Path,
    data_root: Path | None,
    offline: bool,
    policy: Policy | None,
    progress: Progress | None,
    accept: Callable[[Path], tuple[str, int]],
) -> sources.Request:
    from harness.checkpoints.downloading import Policy

    root = data_root or paths.data_root()
    return sources.Request(checkpoint, folder, root, offline, policy or Policy(), progress, accept)


def _expected(entry: Entry) -> tuple[str | None, str]:
    """(sha256 the bytes must have or None, who says so)."""
    if entry.checkpoint is not None and entry.checkpoint.sha256 is not None:
        return entry.checkpoint.sha256, "the registry"
    pin = pins.pinned(entry.id)
    return (pin.sha256, f"registry.lock (first seen at {pin.source})") if pin else (None, "")


def _acceptance(entry: Entry, checkpoint: Checkpoint) -> Callable[[Path], tuple[str, int]]:
    """The test every file passes before it is opened: container, size, hash."""
    from harness.checkpoints.file_formats import check_container

    expected, who = _expected(entry)

    def accept(path: Path) -> tuple[str, int]:
        check_container(path, checkpoint.format)
        size = path.stat().st_size
        if checkpoint.size_bytes is not None and size < checkpoint.size_bytes:
            msg = f"file is truncated: {size} of {checkpoint.size_bytes} bytes."
            raise NotACheckpoint(msg)
        sha256 = sources.digest(path)
        if expected is not None and sha256 != expected:
            raise HashMismatch(f"{who} expects sha256 {expected}, got {sha256}.")
        return sha256, size

    return accept


def _keep(
    entry: Entry,
    checkpoint: Checkpoint,
    folder: Path,
    file: sources.Delivered,
    model: Callable[[], nn.Module] | None,
) -> Obtained:
    from harness.checkpoints.file_formats import convert
    from harness.checkpoints.strict_load import misfit

    tensors, stated = convert(file.path, checkpoint.format)
    told = misfit(model(), _of_the_network(tensors)) if model is not None else ""
    if told:
        raise KeyMismatch(told)
    if checkpoint.sha256 is None:
        pins.pin(entry.id, file.sha256, file.source)
    path = folder / f"{file.sha256[:16]}.safetensors"
    converted_sha256 = _write_tensors(tensors, path)
    obtained = Obtained(
        path=path,
        reused=False,
        id=entry.id,
        source=file.source,
        format=checkpoint.format,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        obtained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        last_modified=file.last_modified,
        license=checkpoint.license,
        converted_sha256=converted_sha256,
        converted_size_bytes=path.stat().st_size,
        tensor_count=len(tensors),
        stated=stated,
    )
    # last: a safetensors file without its record counts as absent
    _write(path.with_suffix(".json"), json.dumps(obtained.provenance(), indent=2) + "\n")
    return obtained


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> str:
    from safetensors.torch import save_file

    new = path.with_suffix(".new")
    save_file(tensors, new)
    sha256 = sources.digest(new)
    os.replace(new, path)
    return sha256


def _write(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


def _record(entry: Entry) -> Obtained | None:
    """What the store says it has for the entry, not yet verified."""
    expected, _ = _expected(entry)
    if expected is None or entry.checkpoint is None:
        return None
    path = paths.checkpoint_store() / entry.id / f"{expected[:16]}.safetensors"
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        found = Obtained(path=path, reused=True, **facts)
    except (FileNotFoundError, ValueError, TypeError):  # absent, cut off, or of another version
        return None
    made_so = (found.sha256, found.format, found.converter_version)
    if made_so != (expected, entry.checkpoint.format, CONVERTER_VERSION) or not path.is_file():
        return None
    return found


def _stored(entry: Entry) -> Obtained | None:
    """The stored checkpoint if its bytes are still those that were written."""
    found = _record(entry)
    if found is None or sources.digest(found.path) != found.converted_sha256:
        return None
    return found


@contextmanager
def _tidy(folder: Path) -> Iterator[None]:
    """Run with `folder` in place; afterwards no half-written file lies there, nor an empty folder.

    Only downloads that can be continued stay (`*.part`); the download itself sees to that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        for path in folder.glob("*.new"):
            path.unlink()
        if not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def _used_up(folder: Path) -> Iterator[None]:
    """Remove all downloads afterwards: they are converted, or cannot be."""
    try:
        yield
    finally:
        for path in folder.glob("*.part*"):
            path.unlink()


@contextmanager
def _advising(entry: Entry) -> Iterator[None]:
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
