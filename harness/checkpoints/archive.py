"""The one reader of zip archives: torch's files and npz go through it and through no other.

What an archive holds is decided once, before anything in it is believed: every byte belongs to one
member or to the directory at the end, so that a second directory has no place.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.checkpoints.wording import in_kb
from harness.errors import NotACheckpoint

MAX_UNPACKED_BYTES = 2 * 1024**3  # an archive may not unfold into more
MAX_RATIO = 200  # zeros of a pruned net shrink about 30-fold; a bomb 1000-fold
SMALL_BYTES = 16 * 1024**2  # below this the ratio does not matter

_HEADER = struct.Struct("<4s2x2H16x2H")  # a member's own header: signature, flags, method, lengths
_ENCRYPTED, _DESCRIBED, _UTF8 = 0x1, 0x8, 0x800  # flag bits
_DESCRIPTORS = (0, 12, 16, 20, 24)  # bytes after a member that repeat its sizes, if it says so
_NOTHING: tuple[int, ...] = (0,)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive: where its bytes lie, and what they must be. Sizes in bytes."""

    name: str
    start: int
    packed: int
    size: int
    deflated: bool
    crc: int


class Archive:
    """Members by name, in file order; `read` checks what it hands out.

    Raises NotACheckpoint for a file that is cut off, ambiguous, encrypted, or a bomb.
    """

    def __init__(self, path: Path) -> None:
        infos, directory, size = _directory(path)
        _refuse_bomb(infos, size)
        with path.open("rb") as file:
            # private to this process: tensors lie on it, and no one may call them read-only
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.members: dict[str, Member] = {}
        free, gaps = 0, _NOTHING
        for info in sorted(infos, key=lambda one: one.header_offset):
            if info.header_offset - free not in gaps or info.filename in self.members:
                raise NotACheckpoint(_odd(f"{info.filename!r} is not where it should be"))
            member = _member(self._bytes, info)
            self.members[member.name] = member
            free = member.start + member.packed
            gaps = _DESCRIPTORS if info.flag_bits & _DESCRIBED else _NOTHING
        if directory - free not in gaps:
            raise NotACheckpoint(_odd("its directory is not where it should be"))

    def read(self, name: str) -> memoryview:
        """The content of a member, unpacked; it lies on the file if it is stored as it is.

        Raises NotACheckpoint if it is missing, or differs from its size or its checksum.
        """
        member = self.members.get(name)
        if member is None:
            raise NotACheckpoint(f"file is damaged: the archive has no member {name!r}.")
        data = memoryview(self._bytes)[member.start : member.start + member.packed]
        if member.deflated:
            data = memoryview(_inflated(data, member))
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            msg = f"file is damaged: {name!r} differs from its size or checksum (CRC)."
            raise NotACheckpoint(msg)
        return data


def _directory(path: Path) -> tuple[list[zipfile.ZipInfo], int, int]:
    """(members, where the directory begins, size of the file)."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.comment:
                raise NotACheckpoint(_odd("a comment follows its directory"))
            return archive.infolist(), archive.start_dir, size
    except zipfile.BadZipFile as error:
        msg = (
            f"file is a truncated zip archive ({in_kb(size)}, no central directory): "
            "the download ended early."
        )
        raise NotACheckpoint(msg) from error
    except (ValueError, NotImplementedError, struct.error, OSError, MemoryError) as error:
        raise NotACheckpoint(_odd(f"{type(error).__name__} in its directory")) from error


def _member(data: mmap.mmap, info: zipfile.ZipInfo) -> Member:
    if info.flag_bits & _ENCRYPTED:
        raise NotACheckpoint(f"file is a zip archive whose {info.filename!r} is encrypted.")
    if info.compress_type not in _METHODS:
        msg = f"{info.filename!r} is packed by method {info.compress_type}, not stored or deflated"
        raise NotACheckpoint(f"file is a zip archive whose {msg}.")
    try:
        signature, flags, method, name, extra = _HEADER.unpack_from(data, info.header_offset)
        start = info.header_offset + _HEADER.size + name + extra
        name_in_header = data[start - extra - name : start - extra].decode(
            "utf-8" if flags & _UTF8 else "cp437"
        )
    except (struct.error, UnicodeDecodeError):
        signature, name_in_header = b"", ""
    if (signature, name_in_header) != (b"PK\x03\x04", info.orig_filename) or (
        flags & ~_UTF8,
        method,
    ) != (
        info.flag_bits & ~_UTF8,
        info.compress_type,
    ):
        raise NotACheckpoint(_odd(f"header and directory disagree about {info.filename!r}"))
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise NotACheckpoint(_odd(f"{info.filename!r} has two sizes"))
    return Member(
        info.filename,
        start,
        info.compress_size,
        info.file_size,
        info.compress_type == zipfile.ZIP_DEFLATED,
        info.CRC,
    )


def _inflated(data: memoryview, member: Member) -> bytearray:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:  # writable, as what lies on the file is: tensors are laid on it
        return bytearray(unpacker.decompress(data, member.size + 1))
    except zlib.error as error:
        raise NotACheckpoint(f"file is damaged: {member.name!r} cannot be unpacked.") from error


def _refuse_bomb(infos: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Compare the sizes the archive declares with what a checkpoint can need."""
    unpacked = sum(info.file_size for info in infos)
    limit = unpacked_limit(size)
    if unpacked > limit:
        msg = (
            f"file is a zip archive of {in_kb(size)} that unfolds into {in_kb(unpacked)} "
            f"(limit {in_kb(limit)}), not a checkpoint; it was not opened."
        )
        raise NotACheckpoint(msg)


def unpacked_limit(size: int) -> int:
    """Bytes that a file of `size` bytes may unfold into."""
    return min(MAX_UNPACKED_BYTES, max(MAX_RATIO * size, SMALL_BYTES))


def _odd(what: str) -> str:
    return f"file is a zip archive that can be read in two ways ({what}); it was not opened."
