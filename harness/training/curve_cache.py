"""Finished parts of slow measurements, such as distortion curves, one small file each.

<cache>/curves/<key>/<part>.npy, where the key hashes everything that the part depends on. A file is
there whole or not at all, so an interrupted measurement goes on with the part it was at.
"""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import torch
from torch import Tensor

from harness import paths
from harness.system import Progress, read_sealed, write_sealed


class CurveCache:
    """A `MeasurementStore` below the cache folder that shows its progress as a bar."""

    def __init__(self, progress: Progress, stage: str) -> None:
        """stage: what the bar says."""
        self._progress, self._stage = progress, stage
        self._done, self._total = 0, 0

    def load(self, key: str) -> dict[str, Tensor]:
        """The parts saved under `key`; a damaged file is removed, named and measured again."""
        parts = {}
        for file in sorted(self._folder(key).glob("*.npy")):
            try:
                array = np.load(BytesIO(read_sealed(file)), allow_pickle=False)
                parts[unquote(file.stem)] = torch.from_numpy(array)
            except (ValueError, TypeError, EOFError, OSError) as error:
                self.note(f"stored part {file.name} is damaged ({error}); measuring it again")
                file.unlink(missing_ok=True)
        return parts

    def save(self, key: str, name: str, part: Tensor) -> None:
        """Write one part; a kill at any moment leaves it out or whole."""
        target = self._folder(key) / f"{quote(name, safe='')}.npy"
        content = BytesIO()
        np.save(content, part.cpu().numpy(), allow_pickle=False)
        write_sealed(target, content.getvalue())

    def forget(self, key: str) -> None:
        """Remove everything under `key`."""
        shutil.rmtree(self._folder(key), ignore_errors=True)

    def progress(self, done: int, total: int) -> None:
        """Move the bar; a smaller `done` or another `total` begins a new one."""
        if total != self._total or done < self._done:
            self._progress.stage(self._stage, total=total)
            self._done, self._total = 0, total
        self._progress.advance(done - self._done)
        self._done = done

    def note(self, text: str) -> None:
        """Pass it on to the user."""
        self._progress.note(text)

    @staticmethod
    def _folder(key: str) -> Path:
        return paths.cache_folder() / "curves" / key[:32]
