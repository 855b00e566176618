"""What a file is, judged by its bytes before anything opens it."""

from __future__ import annotations

import codecs
import re
import tarfile
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from harness.checkpoints.archive import Archive
from harness.checkpoints.wording import in_kb
from harness.errors import NotACheckpoint

_HEAD_BYTES = 65_536
_LONGEST_HEADER = 100_000_000  # bytes; the safetensors library refuses a longer one

# torch.save before 1.6: protocol byte, then the magic number as a ten-byte LONG1.
_LEGACY = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", re.DOTALL
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_INDEX = re.compile(rb"\A\s*\{.*\"weight_map\"\s*:\s*\{", re.DOTALL)
_TITLE = re.compile(rb"<title[^>]*>\s*(.*?)\s*</title>", re.DOTALL | re.IGNORECASE)
_PAGES = (  # (what the text says, what it means)
    (rb"quota|too many users|exceeded", "a download-quota page"),
    (rb"virus", "a virus-scan warning page"),
    (rb"log ?in|sign ?in|password", "a login page"),
)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd"}


class Kind(StrEnum):
    """Containers a checkpoint may come in."""

    TORCH_ZIP = "torch zip archive"
    TORCH_LEGACY = "torch legacy pickle"
    NPZ = "npz archive"
    SAFETENSORS = "safetensors"
    SHARDED = "index of sharded safetensors"
    HDF5 = "HDF5"
    BINARY = "binary data without a known signature"


def sniff(path: Path) -> Kind:
    """The container of the file at `path`.

    Raises NotACheckpoint for an empty file, an HTML page, a Git LFS pointer, text, a compressed or
    foreign archive, a truncated zip, an archive that unfolds into too much, or a foreign pickle.
    """
    size = path.stat().st_size
    if size == 0:
        raise NotACheckpoint("file is empty (0 bytes). The host sent nothing.")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if _INDEX.search(head):
        return Kind.SHARDED
    _refuse_text(head, size)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the second: of an empty one
        return _zip_kind(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Kind.HDF5
    _refuse_archives(path, head, size)
    if _LEGACY.match(head):
        return Kind.TORCH_LEGACY
    if _PICKLE.match(head):
        msg = (
            f"file is a Python pickle ({in_kb(size)}) that torch.save did not write, not a "
            "checkpoint. It could run code, so it was not opened."
        )
        raise NotACheckpoint(msg)
    return _safetensors_or_binary(head, size)


def is_index(path: Path) -> bool:
    """Whether the file is an index of sharded safetensors."""
    with path.open("rb") as file:
        return _INDEX.search(file.read(_HEAD_BYTES)) is not None


def require(path: Path, wanted: Iterable[Kind], format_id: str) -> Kind:
    """The file's container. Raises NotACheckpoint unless it is one of `wanted`."""
    wanted = tuple(wanted)
    kind = sniff(path)
    if kind not in wanted:
        msg = (
            f"file is {kind}, not a checkpoint of format {format_id!r}, "
            f"which comes as {' or '.join(wanted)}. It is another file, or a damaged one."
        )
        raise NotACheckpoint(msg)
    return kind


def _refuse_text(head: bytes, size: int) -> None:
    if head.startswith(b"version https://git-lfs"):
        msg = (
            f"file is a Git LFS pointer ({size} bytes), not a checkpoint. The content is stored "
            "elsewhere; `git lfs pull` in a clone of that repository fetches it."
        )
        raise NotACheckpoint(msg)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<script")) or b"<html" in start:
        raise NotACheckpoint(f"file is HTML ({in_kb(size)}), not a checkpoint. {_page(head)}")
    if b"\0" not in head and _is_text(head):
        shown = head[:60].decode("utf-8", "replace").strip()
        msg = (
            f"file is plain text ({in_kb(size)}), not a checkpoint; it begins {shown!r}. "
            "The host probably returned an error message."
        )
        raise NotACheckpoint(msg)


def _page(head: bytes) -> str:
    title = _TITLE.search(head)
    named = f" titled {title[1][:60].decode('utf-8', 'replace')!r}" if title else ""
    for pattern, meaning in _PAGES:
        if re.search(pattern, head, re.IGNORECASE):
            return f"The host returned {meaning}{named}."
    return f"The host returned a login, quota or error page{named}."


def _is_text(head: bytes) -> bool:
    try:
        # Incrementally: the last character may be cut by the end of the head.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(byte >= 32 or byte in b"\t\n\r\f\x1b" for byte in head[:4096])


def _refuse_archives(path: Path, head: bytes, size: int) -> None:
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            msg = (
                f"file is {name}-compressed ({in_kb(size)}), not a checkpoint. "
                "Unpack it and hand over the file inside."
            )
            raise NotACheckpoint(msg)
    if head[257:262] == b"ustar" or tarfile.is_tarfile(path):
        msg = (
            f"file is a tar archive ({in_kb(size)}), not a checkpoint. "
            "Unpack it and hand over the file inside."
        )
        raise NotACheckpoint(msg)


def _zip_kind(path: Path) -> Kind:
    names = list(Archive(path).members)
    if any(name.endswith("/constants.pkl") for name in names):
        msg = "file is a TorchScript program, not a checkpoint; it holds code and was not opened."
        raise NotACheckpoint(msg)
    if any(name.endswith("data.pkl") for name in names):
        return Kind.TORCH_ZIP
    if names and all(name.endswith(".npy") for name in names):
        return Kind.NPZ
    shown = ", ".join(map(repr, names[:3])) or "nothing"
    raise NotACheckpoint(f"file is a zip archive of something else ({shown}), not a checkpoint.")


def _safetensors_or_binary(head: bytes, size: int) -> Kind:
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header <= _LONGEST_HEADER:
        if 8 + header > size:
            msg = f"file is a truncated safetensors file ({in_kb(size)}): the download ended early."
            raise NotACheckpoint(msg)
        return Kind.SAFETENSORS
    return Kind.BINARY
