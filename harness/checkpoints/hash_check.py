"""The test that every file passes before it is opened: its container, its size, its hash."""

from __future__ import annotations

from harness.checkpoints import pins
from harness.checkpoints.sources import Delivered
from harness.errors import HashMismatch, NotACheckpoint
from harness.registry import Checkpoint, Entry


def expected_sha256(entry: Entry) -> tuple[str | None, str]:
    """(sha256 the bytes must have or None, who says so)."""
    if entry.checkpoint is None:
        return None, ""
    if entry.checkpoint.sha256 is not None:
        return entry.checkpoint.sha256, "the registry"
    pin = pins.pinned(entry.id)
    return (pin.sha256, f"registry.lock (first seen at {pin.source})") if pin else (None, "")


def check_file(
    checkpoint: Checkpoint | None,
    file: Delivered,
    format_id: str,
    wanted_sha256: str | None,
    who: str,
) -> None:
    """Raise NotACheckpoint for a container or size that cannot be, HashMismatch for other bytes.

    who: who says `wanted_sha256`, see `expected_sha256`; None = any bytes will do.
    """
    from harness.checkpoints.file_formats import check_container

    check_container(file.path, format_id)
    whole = checkpoint.size_bytes if checkpoint is not None else None
    if whole is not None and file.size_bytes < whole:
        raise NotACheckpoint(f"file is truncated: {file.size_bytes} of {whole} bytes.")
    if wanted_sha256 not in (None, file.sha256):
        raise HashMismatch(f"{who} expects sha256 {wanted_sha256}, got {file.sha256}.")
