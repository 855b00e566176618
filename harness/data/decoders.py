"""Pictures decoded by the worker processes of a torch DataLoader, in order.

A worker answers with a whole chunk of pixels through its pipe, so that no shared memory is needed,
which containers often have too little of; and a picture that cannot be read comes back as an error
in its place, not as a traceback.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from harness.data.decoding import decode_into
from harness.errors import DataError

CHUNK = 25  # pictures per job: some 60 ms of decoding, so waiting for the next one is nothing
AHEAD = 2  # jobs that wait for every process


@dataclass(frozen=True, slots=True)
class Transform:
    """Reference preprocessing: short side to `resize` pixels (None: as it is), centre `crop`."""

    resize: int | None
    crop: int
    interpolation: str = "bilinear"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, crop, crop), the shape of one decoded picture."""
        return 3, self.crop, self.crop


def cores() -> int:
    """Cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return usable or 1


class _Chunks(Dataset[Any]):
    """Runs of files; an item is their pixels, uint8 (N, 3, crop, crop), or why there are none."""

    def __init__(self, chunks: Sequence[Sequence[Path]], transform: Transform) -> None:
        self._chunks, self._transform = chunks, transform

    def __len__(self) -> int:
        return len(self._chunks)

    def __getitem__(self, number: int) -> np.ndarray | DataError:
        files, to = self._chunks[number], self._transform
        pixels = np.empty((len(files), *to.shape), np.uint8)
        try:
            for slot, file in zip(pixels, files, strict=True):
                decode_into(slot, file, to.resize, to.crop, to.interpolation)
        except DataError as error:
            return error
        return pixels


def in_chunks(
    chunks: Sequence[Sequence[Path]],
    transform: Transform,
    workers: int | None = None,
    ahead: int = AHEAD,
) -> Generator[np.ndarray, None, None]:
    """The pictures of every run of files in order, uint8 (N, 3, crop, crop), decoded ahead.

    workers: processes; 0 = this one; None = one per core, or this one for a single chunk.
    ahead: chunks that wait for every process. Raises DataError naming an unreadable file, in the
    place of its chunk, or saying that a process ended.
    """
    if workers is None:
        workers = min(cores(), len(chunks)) if len(chunks) > 1 else 0
    loader = DataLoader(
        _Chunks(chunks, transform),
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        prefetch_factor=ahead if workers else None,
        generator=torch.Generator(),  # its seed is no draw from the global one
    )
    found = iter(loader)
    try:
        while (pixels := _next(found)) is not None:
            if isinstance(pixels, DataError):
                raise pixels
            yield pixels
    finally:
        del found  # ends the processes, whoever still holds the error


def _next(found: Iterator[np.ndarray | DataError]) -> np.ndarray | DataError | None:
    try:
        return next(found, None)
    except RuntimeError as error:  # pictures fail as DataError: this is about the process
        first = str(error).partition("\n")[0].rstrip(".")
        hint = "Out of memory? Try again, or with fewer cores"
        raise DataError(f"a decoding process ended: {first}. {hint}.") from error


def _as_it_is(pixels: Any) -> Any:
    return pixels


def in_batches(
    files: Sequence[Path], transform: Transform, batch_size: int, workers: int | None = None
) -> Generator[np.ndarray, None, None]:
    """The pictures in order as uint8 (B, 3, crop, crop). workers, errors: as in `in_chunks`."""
    batches = [files[start : start + batch_size] for start in range(0, len(files), batch_size)]
    parts = [split_up(batch) for batch in batches]
    every = [chunk for part in parts for chunk in part]
    ahead = max(AHEAD, -(-batch_size // (CHUNK * (workers or cores()))))  # a batch, all together
    with closing(in_chunks(every, transform, workers, ahead)) as decoded:
        for part in parts:
            yield np.concatenate([next(decoded) for _ in part])


def split_up(files: Sequence[Path]) -> list[Sequence[Path]]:
    """Runs of CHUNK files, the last one of what is left."""
    return [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
