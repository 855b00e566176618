"""registry.lock brought up to date with the checkpoints that lie in the store."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.checkpoints import pins
from harness.registry import Checkpoint, Entry
from harness.system import read_json, sha256_file

SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PinState:
    """What is known about the hash of one entry's checkpoint.

    state: in the registry | pinned | newly pinned | not here | contradiction | changed | ambiguous.
    """

    id: str
    state: str
    sha256: str | None = None
    detail: str = ""

    @property
    def ok(self) -> bool:
        return self.state not in ("contradiction", "changed", "ambiguous")


def pin_checkpoints(entries: Iterable[Entry]) -> list[PinState]:
    """Pin each stored checkpoint unless its hash is known, and read the file again.

    Entries without a checkpoint are left out. Raises RegistryError if registry.lock is damaged.
    """
    return [_pinned(e, e.checkpoint) for e in entries if e.checkpoint is not None]


def _pinned(entry: Entry, checkpoint: Checkpoint) -> PinState:
    stated, pin = checkpoint.sha256, pins.pinned(entry.id)
    if stated and pin and stated != pin.sha256:
        detail = f"registry.lock says {pin.sha256[:16]}; delete its line if the registry is right"
        return PinState(entry.id, "contradiction", stated, detail)
    known = stated or (pin.sha256 if pin else None)
    if known is None:
        return _pin(entry, checkpoint)
    state = "in the registry" if stated else "pinned"
    return _reread(entry, known) or PinState(entry.id, state, known)


def _pin(entry: Entry, checkpoint: Checkpoint) -> PinState:
    """Pin what was downloaded from the entry's sources while registry.lock was elsewhere."""
    found = {
        facts["sha256"]: facts["source"]
        for facts in map(_facts, _records(entry))
        if facts.get("source") in checkpoint.sources and SHA256.fullmatch(facts.get("sha256", ""))
    }
    if not found:
        return PinState(entry.id, "not here", None, f"get it: bench pull {entry.id}")
    if len(found) > 1:
        hashes = " and ".join(sha256[:16] for sha256 in sorted(found))
        detail = f"the store holds {hashes}; delete the wrong one and repeat"
        return PinState(entry.id, "ambiguous", None, detail)
    [(sha256, source)] = found.items()
    changed = _reread(entry, sha256)
    if changed is None:
        pins.pin(entry.id, sha256, source)
    return changed or PinState(entry.id, "newly pinned", sha256, f"from {source}")


def _reread(entry: Entry, sha256: str) -> PinState | None:
    """The complaint about a stored file that is not what was written, or None."""
    file = paths.checkpoint_store() / entry.id / f"{sha256[:16]}.safetensors"
    record = file.with_suffix(".json")
    if not file.is_file() or not record.is_file():
        return None
    if sha256_file(file) == _facts(record).get("converted_sha256"):
        return None
    detail = f"the stored file changed on disk; delete it and run: bench pull {entry.id}"
    return PinState(entry.id, "changed", sha256, detail)


def _records(entry: Entry) -> list[Path]:
    return sorted((paths.checkpoint_store() / entry.id).glob("*.json"))


def _facts(record: Path) -> dict[str, str]:
    """What a stored checkpoint's record says; nothing if it was cut off or is nonsense."""
    try:
        facts = read_json(record.read_bytes())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in facts.items() if isinstance(v, str)} if isinstance(facts, dict) else {}
