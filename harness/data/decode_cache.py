"""Pictures of one set, decoded once: a memory-mapped uint8 file below the home folder's cache.

<cache>/pictures/<key>/pixels.npy    (N, 3, H, W), the reference decoding of the files in order
                       chunks        its header, then one sha256 per CHUNK pictures
                       facts.json    written last: only with it the cache is finished

The key hashes the file list (names, sizes, labels), the transform and the decoder's version. Times
of modification are left out of it, or every copy of a data set would leave another 7.5 GB behind;
they are in the header instead, and a cache made before a file was touched is made anew.

Channels come first on disk: turning them around once costs as much as a third of normalising
them, which every evaluation would pay again (0.11 ms a picture).
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import __version__ as pillow_version
from PIL import features

from harness import paths
from harness.data.decoders import CHUNK, Decoders, Transform, cores
from harness.errors import DataError
from harness.system import CachePolicy, Progress, locked, sha256_json

if TYPE_CHECKING:
    from harness.data.find_and_load import PictureSet

FORMAT = 1  # raise it when the same pictures would be stored differently
SYNC_S = 2.0  # a kill loses at most this much work
RESERVE_BYTES = 256 * 2**20  # stays free for results and checkpoints


# build: make it when all pictures are wanted and there is room. require: no room is an error.
# read: use it when somebody made it. off: leave it alone.
def cache_folder() -> Path:
    """Where all decoded pictures lie; deleting it loses nothing but time."""
    return paths.cache_folder() / "pictures"


def cached(
    source: PictureSet, transform: Transform, policy: CachePolicy, whole: bool, progress: Progress
) -> np.ndarray | None:
    """The decoded pictures of `source`, uint8 (N, 3, H, W), memory-mapped; None = not cached.

    whole: all pictures are wanted, so it is worth decoding all.
    Raises DataError naming an unreadable picture, or if `policy` requires room that is not there.
    """
    if policy == "off":
        return None
    cache = DecodeCache(source, transform, progress)
    building = whole and policy != "read"
    pixels = cache.finished(thorough=not building)
    if pixels is not None or not building:
        return pixels
    return cache.build(required=policy == "require")


class DecodeCache:
    """One set under one transform."""

    def __init__(self, source: PictureSet, transform: Transform, progress: Progress) -> None:
        self.files = source.pictures.files
        self.title = f"{source.identity.dataset} {source.identity.split}"
        self.shape = (len(self.files), *transform.shape)
        self._transform, self._progress = transform, progress
        key = {
            "format": FORMAT,
            "chunk": CHUNK,
            "list": source.pictures.fingerprint,
            "transform": asdict(transform),
            "decoder": _decoder(),
        }
        modified = ",".join(str(file.stat().st_mtime_ns) for file in self.files)
        self._header = {**key, "modified": hashlib.sha256(modified.encode()).hexdigest()}
        self.folder = cache_folder() / sha256_json(key)[:32]
        self._pixels = self.folder / "pixels.npy"
        self._part = self.folder / "pixels.npy.part"
        self._chunks = self.folder / "chunks"
        self._facts = self.folder / "facts.json"

    @property
    def size_bytes(self) -> int:
        """Bytes of all pixels."""
        return prod(self.shape)

    def finished(self, thorough: bool = True) -> np.ndarray | None:
        """The pixels if they are all there and unharmed, else None.

        Content is hashed when the file is not the very one that was last hashed: other inode, size
        or time. Hashing 7.5 GB at every start would cost more than some evaluations.
        thorough: False answers None, and says nothing, where hashing would be needed.
        """
        facts = self._read_facts()
        if facts is None:
            return None
        if facts["header"] != self._header:
            if thorough:
                self._progress.note(f"{self.title}: pictures were touched since they were decoded")
            return None
        try:
            pixels: np.ndarray = np.load(self._pixels, mmap_mode="c")
            known = facts["stamp"] == _stamp(self._pixels)
        except (OSError, ValueError):
            return None
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            return None
        return pixels if known or (thorough and self._checked(pixels, facts["sha256"])) else None

    @property
    def content_sha256(self) -> str | None:
        """sha256 over the chunks' sha256s of a finished cache."""
        facts = self._read_facts()
        return None if facts is None else str(facts["sha256"])

    def shortage(self) -> str | None:
        """Why there is no room for the cache, or None if there is."""
        free, needed = shutil.disk_usage(self.folder).free, self._missing_bytes()
        if free - RESERVE_BYTES >= needed:
            return None
        return (
            f"{self.title}: decoded pictures need {_size(needed)} on disk and {_size(free)} are "
            f"free ({_size(RESERVE_BYTES)} of them stay so). Set BENCH_HOME to a folder with more "
            "room, or decode at every evaluation: --no-cache."
        )

    def build(self, required: bool = False) -> np.ndarray | None:
        """Decode what is missing; the finished pixels, or None if there is no room for them.

        Another process that is at it is waited for. Raises DataError if there must be room.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder.with_suffix(".lock"), self._tell_waiting, math.inf):
            pixels = self.finished()
            if pixels is not None:
                return pixels
            shortage = self.shortage()
            if shortage and required:
                raise DataError(shortage)
            if shortage:
                self._progress.note(f"{shortage} Decoding on the way instead.")
                return None
            try:
                digests = self._decode(self._resumable())
                self._part.replace(self._pixels)
                self._write_facts(_summary(digests))
            except OSError as error:
                advice = self.shortage() or "Or decode at every evaluation: --no-cache."
                msg = f"{self.folder}: cannot be written ({error.strerror}). {advice}"
                raise DataError(msg) from error
            return self.finished()

    def _checked(self, pixels: np.ndarray, sha256: str) -> bool:
        """True if the content hashes to what is on record, which is then noted down."""
        self._progress.stage(f"{self.title}: check decoded pictures")
        digests = self._digests()
        if _unharmed(pixels, digests) < self._count or _summary(digests) != sha256:
            self._progress.note(f"{self.title}: the decoded pictures are damaged")
            return False
        self._write_facts(sha256)
        return True

    @property
    def _count(self) -> int:
        return -(-len(self.files) // CHUNK)

    def _tell_waiting(self, holder: str) -> None:
        text = f"{self.title}: process {holder} is decoding these pictures; waiting for it"
        self._progress.note(text)

    def _missing_bytes(self) -> int:
        for file in (self._part, self._pixels):
            if file.exists():
                # A file with holes; what is written takes room already.
                blocks = getattr(file.stat(), "st_blocks", 0)
                return max(self.size_bytes - 512 * int(blocks), 0)
        return self.size_bytes

    def _resumable(self) -> int:
        """Number of leading chunks that an earlier process wrote and that are unharmed.

        Afterwards part and chunk list are in place and hold just these.
        """
        self._facts.unlink(missing_ok=True)
        if self._pixels.exists():  # damaged, or killed just before the facts were written
            self._pixels.replace(self._part)
        try:
            pixels: np.ndarray = np.load(self._part, mmap_mode="r")
            digests = self._digests() if pixels.shape == self.shape else []
        except (OSError, ValueError):
            digests = []
        done = _unharmed(pixels, digests) if digests else 0
        if not done:
            # A new file, not the old one overwritten: somebody may still be reading that.
            self._part.unlink(missing_ok=True)
            np.lib.format.open_memmap(self._part, "w+", np.dtype(np.uint8), self.shape)
        header = json.dumps(self._header, sort_keys=True)
        _replace(self._chunks, "\n".join([header, *digests[:done], ""]))
        return done

    def _digests(self) -> list[str]:
        """Chunk hashes on record, up to the first that is not whole; [] if of other pictures."""
        try:
            header, *lines = self._chunks.read_text(encoding="ascii").split("\n")
            if json.loads(header) != self._header:
                return []
        except (OSError, ValueError):
            return []
        whole = [re.fullmatch("[0-9a-f]{64}", line) is not None for line in lines[:-1]]
        return lines[: whole.index(False) if False in whole else len(whole)][: self._count]

    def _announce(self, done: int) -> None:
        free = shutil.disk_usage(self.folder).free
        already = f"; {min(done * CHUNK, len(self.files)):,} are there already" if done else ""
        self._progress.note(
            f"{self.title}: decoding {len(self.files):,} pictures once, with {cores()} processes, "
            f"into {self.folder} ({_size(self.size_bytes)}, {_size(free)} free{already})"
        )
        self._progress.stage(f"{self.title}: decode", total=len(self.files))
        self._progress.advance(min(done * CHUNK, len(self.files)))

    def _decode(self, done: int) -> list[str]:
        """Write all chunks from number `done` on; the hashes of all."""
        self._announce(done)
        digests = self._digests()
        with open(self._part, "r+b", 0) as pixels, open(self._chunks, "ab", 0) as chunks:
            start = self._part.stat().st_size - self.size_bytes  # of the first picture
            pixels.seek(start + done * CHUNK * prod(self.shape[1:]))
            log = _ChunkLog(pixels, chunks)
            try:
                with closing(self._decoded(done)) as decoded:
                    for part, digest in decoded:
                        log.add(part, digest)
                        digests.append(digest)
                        self._progress.advance(len(part))
                log.sync()
            except OSError:
                raise
            except BaseException:
                log.sync()  # what was decoded so far stays
                raise
        return digests

    def _decoded(self, first: int) -> Generator[tuple[np.ndarray, str], None, None]:
        """Chunks from number `first` on in order, each with its hash."""
        waiting: deque[tuple[np.ndarray, Future[str]]] = deque()
        with Decoders(self._transform, min(cores(), self._count - first) or 1) as decoders:
            for number in range(first, self._count):
                files = self.files[number * CHUNK : (number + 1) * CHUNK]
                part = np.empty((len(files), *self.shape[1:]), np.uint8)
                waiting.append((part, decoders.decode(files, part, then=_digest)))
                if len(waiting) > 3 * cores():
                    done, digest = waiting.popleft()
                    yield done, digest.result()
            for done, digest in waiting:
                yield done, digest.result()

    def _read_facts(self) -> dict[str, Any] | None:
        try:
            facts = json.loads(self._facts.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        whole = isinstance(facts, dict) and facts.keys() >= {"header", "sha256", "stamp"}
        return facts if whole else None

    def _write_facts(self, sha256: str) -> None:
        facts = {"header": self._header, "sha256": sha256, "stamp": _stamp(self._pixels)}
        _replace(self._facts, json.dumps(facts, indent=1) + "\n")


class _ChunkLog:
    """Chunk hashes that are written down only after the pixels have reached the disk."""

    def __init__(self, pixels: io.FileIO, chunks: io.FileIO) -> None:
        self._pixels, self._chunks = pixels, chunks
        self._open: list[str] = []
        self._synced = time.monotonic()

    def add(self, part: np.ndarray, digest: str) -> None:
        """Write the next chunk."""
        _write_all(self._pixels, part.data)
        self._open.append(digest)
        if time.monotonic() - self._synced > SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Bring everything that was added to the disk."""
        os.fsync(self._pixels.fileno())
        _write_all(self._chunks, "".join(f"{digest}\n" for digest in self._open).encode())
        os.fsync(self._chunks.fileno())
        self._open = []
        self._synced = time.monotonic()


def _write_all(file: io.FileIO, data: memoryview | bytes) -> None:
    """Unbuffered, so that a full disk is met here and not when the file is closed."""
    left = memoryview(data).cast("B")
    while left:
        left = left[file.write(left) :]


def _digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.data).hexdigest()


def _summary(digests: list[str]) -> str:
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _unharmed(pixels: np.ndarray, digests: list[str]) -> int:
    """Number of leading chunks whose content is what its hash says."""
    parts = (pixels[i * CHUNK : (i + 1) * CHUNK] for i in range(len(digests)))
    with ThreadPoolExecutor(cores()) as threads:
        for number, (got, want) in enumerate(
            zip(threads.map(_digest, parts), digests, strict=True)
        ):
            if got != want:
                return number
    return len(digests)


def _decoder() -> dict[str, str | None]:
    """What turns a file into pixels; another version may do it differently."""
    return {"pillow": pillow_version, "jpeg": features.version_feature("libjpeg_turbo")}


def _stamp(path: Path) -> list[int]:
    """Changes whenever the file is written to or replaced; ctime cannot be set back."""
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _replace(path: Path, text: str) -> None:
    """Write a small text file whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    with open(new, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
