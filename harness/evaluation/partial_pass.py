"""Counts of evaluations that are under way, so that a killed one goes on where it was.

<runs>/evaluations/<entry>-<key>.npz, where the key hashes all that the counts depend on. There
whole or not at all; removed when the result is on record.
"""

from __future__ import annotations

import warnings

import numpy as np

from harness import paths
from harness.errors import StateWarning
from harness.registry import Entry, Evaluation, entry_sha256, evaluation_sha256
from harness.system import provenance, replace_file

FORMAT = 1  # raise it when the same arrays would mean something else


class PartialFile:
    """What was counted so far for one entry's network."""

    def __init__(
        self,
        entry: Entry,
        evaluation: Evaluation,
        network: str,
        images: tuple[str, int, int],
        device: str,
    ) -> None:
        """network: which weights, by hash. images: fingerprint, number evaluated, batch size."""
        key = provenance.sha256_json(
            {
                "format": FORMAT,
                "entry": entry_sha256(entry),
                "evaluation": evaluation_sha256(evaluation),
                "checkpoint": network,
                "images": images,
                "versions": provenance.versions(),
                "code": provenance.code_version(),
                "hardware": provenance.hardware(device),
            }
        )
        self._path = paths.runs_folder() / "evaluations" / f"{entry.id}-{key[:16]}.npz"

    def load(self) -> dict[str, np.ndarray] | None:
        """The arrays kept last, or None; a damaged file counts as absent."""
        try:
            with open(self._path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                return dict(stored)
        except FileNotFoundError:
            return None
        except Exception as error:  # damaged: whatever zipfile and numpy raise
            self.useless(error)
            return None

    def useless(self, error: Exception) -> None:
        """Say that what was kept cannot be used."""
        note = f"kept counts {self._path.name} cannot be used ({error}); counted from the start"
        warnings.warn(note, StateWarning, stacklevel=2)

    def keep(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace what was kept."""
        if not arrays:
            return
        replace_file(self._path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]

    def forget(self) -> None:
        """Remove it: the result is on record, or is to be measured anew."""
        self._path.unlink(missing_ok=True)
