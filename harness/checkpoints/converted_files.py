"""What the store holds: converted checkpoints, each with a record of where it came from.

<store>/<id>/<first 16 digits of the file's sha256>.safetensors holds plain names, .json beside it
tells where the bytes came from. The original file is not kept: with its optimizer state it is up to
twice as large, and its pinned sha256 proves any later copy to be the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import CheckpointUnavailable
from harness.system import read_json, replace_text, replacing, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

# Fields of a record that are no text.
_KINDS: dict[str, Any] = {
    "size_bytes": int,
    "last_modified": str | None,
    "converted_size_bytes": int,
    "tensor_count": int,
    "stated": dict,
    "converter_version": int,
    "notes": list,
}
CONVERTER_VERSION = 1  # raise it when a converter's output changes: stored files are made anew


@dataclass(frozen=True, slots=True)
class Obtained:
    """A verified, converted checkpoint and where it comes from; facts hold no absolute path."""

    path: Path  # safetensors, below the store
    reused: bool  # True: it was in the store already
    id: str
    source: str  # as the registry spells it, or file:NAME for a file given by hand
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
    notes: list[str] = field(default_factory=list)  # how it was read: part chosen, dropped, cast

    @property
    def by_hand(self) -> bool:
        """Whether somebody gave the file, instead of a source of the registry."""
        return self.source.startswith("file:")

    def provenance(self) -> dict[str, Any]:
        """Everything but where the file lies here, ready for JSON."""
        facts = asdict(self)
        return {name: facts[name] for name in facts if name not in ("path", "reused")}

    def tensors(self) -> dict[str, Tensor]:
        """Plain state dict of the model, on the CPU."""
        from harness.checkpoints.file_formats import without_heads

        return without_heads(self._read(), self.format)

    def heads(self) -> dict[str, Tensor]:
        """Gate heads of an FTWT file: `<gated layer>.{weight,bias}`; empty for all others."""
        from harness.checkpoints.file_formats import heads

        return heads(self._read(), self.format)

    def _read(self) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return load_file(self.path)


def place(folder: Path, sha256: str) -> Path:
    """Where the converted file lies whose original has this sha256."""
    return folder / f"{sha256[:16]}.safetensors"


def record(folder: Path, sha256: str) -> Obtained | None:
    """What the store says of the file with this sha256, not yet verified; None = nothing usable."""
    path = place(folder, sha256)
    try:
        facts = read_json(path.with_suffix(".json").read_bytes())
        found = Obtained(path=path, reused=True, **_checked(facts))
    except (OSError, ValueError, TypeError):  # absent, cut off, of another version, or nonsense
        return None
    made_so = (found.sha256, found.converter_version) == (sha256, CONVERTER_VERSION)
    return found if made_so and path.is_file() else None


def _checked(facts: object) -> dict[str, Any]:
    """The fields of a record. Raises ValueError or TypeError where one is of another kind."""
    if not isinstance(facts, dict):
        raise TypeError("expected a mapping")
    for name, value in facts.items():
        if not isinstance(value, _KINDS.get(name, str)) or isinstance(value, bool):
            raise TypeError(f"{name} is of another kind")
    stated, notes = facts.get("stated", {}), facts.get("notes", [])
    if not all(isinstance(value, int | float | str) for value in (*stated.values(), *notes)):
        raise TypeError("stated and notes are numbers and texts")
    return facts


def given(folder: Path) -> Obtained | None:
    """The newest file that was given by hand, not yet verified."""
    records = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in records:
        try:
            sha256 = _checked(read_json(path.read_bytes()))["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found = record(folder, sha256)
        if found is not None and found.by_hand:
            return found
    return None


def intact(found: Obtained | None) -> Obtained | None:
    """`found` if its bytes are still those that were written."""
    if found is None or sha256_file(found.path) != found.converted_sha256:
        return None
    return found


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> str:
    """Write `path`, and read it back before it takes its place; the sha256 of the file.

    Raises CheckpointUnavailable if what is read is not what was written.
    """
    from safetensors.torch import load_file, save_file

    with replacing(path) as part:
        save_file(dict(tensors), part)
        again = load_file(part)
        if again.keys() != tensors.keys() or any(
            again[name].dtype != value.dtype or not again[name].equal(value)
            for name, value in tensors.items()
        ):
            raise CheckpointUnavailable("the converted file does not read back as it was written.")
        return sha256_file(part)


def write_record(obtained: Obtained) -> None:
    """Write the record beside the file; a file without its record counts as absent."""
    text = json.dumps(obtained.provenance(), indent=2) + "\n"
    replace_text(obtained.path.with_suffix(".json"), text)


def discard(obtained: Obtained) -> None:
    """Take a file and its record out of the store."""
    obtained.path.with_suffix(".json").unlink(missing_ok=True)
    obtained.path.unlink(missing_ok=True)
