"""registry.lock: the sha256 of every file that was good once, one `sha256  id  source` per line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness import paths
from harness.errors import HashMismatch, RegistryError
from harness.system import locked, replace_text

HEADER = "# sha256  id  source of the first good download; checked ever after\n"
_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<id>\S+)  (?P<source>\S.*)")


@dataclass(frozen=True, slots=True)
class Pin:
    """What was seen first under an entry's id."""

    sha256: str
    source: str


def pinned(entry_id: str) -> Pin | None:
    """The pin of `entry_id`, or None. Raises RegistryError if registry.lock is damaged."""
    return _read().get(entry_id)


def pin(entry_id: str, sha256: str, source: str) -> None:
    """Record the first good download. Raises HashMismatch if another hash was recorded meanwhile.

    source: as the registry spells it; a user's file is `file:NAME`, never a whole path.
    """
    path = paths.lock_file()
    with locked(path.with_name(f".{path.name}.guard")):
        pins = dict(_read())
        known = pins.setdefault(entry_id, Pin(sha256, source))
        if known.sha256 != sha256:
            msg = f"registry.lock pins sha256 {known.sha256}, got {sha256}."
            raise HashMismatch(msg)
        _write(path, pins)


def _write(path: Path, pins: dict[str, Pin]) -> None:
    lines = [f"{p.sha256}  {entry_id}  {p.source}\n" for entry_id, p in sorted(pins.items())]
    replace_text(path, HEADER + "".join(lines))


def _read() -> dict[str, Pin]:
    path = paths.lock_file()
    try:
        stat = path.stat()
    except FileNotFoundError:
        return {}
    return _parse(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


@lru_cache(maxsize=2)  # `bench list` asks once per entry
def _parse(path: Path, mtime_ns: int, size: int, inode: int) -> dict[str, Pin]:
    pins = {}
    try:  # what is no text becomes a line that is refused below
        text = path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise RegistryError(f"{path.name}: {error.strerror}. Restore the file") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            msg = (
                f"{path.name}, line {number}: {line[:80]!r} is not `sha256  id  source`. "
                "Restore the file from version control, or delete the line to pin anew."
            )
            raise RegistryError(msg)
        pins[match["id"]] = Pin(match["sha256"], match["source"])
    return pins
