"""Does a host still have what is published there? A file is asked for its first bytes only."""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from harness.checkpoints.downloading import FAILURES, HEADERS, Connection, failure
from harness.checkpoints.wording import shown
from harness.errors import CheckpointUnavailable, NotACheckpoint
from harness.results import Kind, Link

if TYPE_CHECKING:
    from harness.checkpoints.sources.web import RemoteFile

HEAD_BYTES = 64 * 1024  # enough to tell a page from a file


def probe(source: RemoteFile, kind: Kind, timeout_s: tuple[float, float]) -> Link:
    """The answer of one address. timeout_s: to connect, to read."""
    try:
        with Connection() as connection:
            if kind == "page":
                answer = connection.head(
                    source.address, headers=HEADERS, timeout=timeout_s, allow_redirects=True
                )
                # Some hosts refuse HEAD, or answer it differently from GET.
                if answer.ok:
                    return _link(True, answer.status_code, "answers")
            wish = HEADERS | {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
            with connection.get(
                source.address, headers=wish, stream=True, timeout=timeout_s
            ) as answer:
                return _judged(answer, kind, source)
    except CheckpointUnavailable as error:
        return _link(None, None, str(error))
    except FAILURES as error:
        return _link(None, None, failure(error))


def _judged(answer: requests.Response, kind: Kind, source: RemoteFile) -> Link:
    status = answer.status_code
    said = shown(f"HTTP {status} {answer.reason or ''}".strip())
    if status in (404, 410):
        return _link(False, status, said)
    if status in (401, 403):
        # Pages refuse programs that a browser would be let through; a published file must not.
        refused = "asks for a login" if kind == "file" else "refuses programs, maybe not browsers"
        return _link(False if kind == "file" else None, status, refused)
    if status not in (200, 206):
        return _link(None, status, said)
    if kind == "page":
        return _link(True, status, "answers")
    head = next(answer.iter_content(HEAD_BYTES), b"")
    page = source.page_says(head)
    if page is not None:
        return _link(page[0], status, page[1])
    problem = _not_a_file(head)
    if problem:
        return _link(False, status, problem)
    size = _size_of(answer)
    return _link(True, status, "a file" + (f" of {size} bytes" if size else ""))


def _not_a_file(head: bytes) -> str:
    """Why the first bytes of an answer belong to no checkpoint; "" if they may."""
    from harness.checkpoints.sniffing import sniff

    if not head:
        return "the host sent nothing"
    if b"\0" in head[:1024]:
        return ""  # binary; whether it is the right file, its hash tells
    with tempfile.NamedTemporaryFile() as copy:
        copy.write(head)
        copy.flush()
        try:
            sniff(Path(copy.name))
        except NotACheckpoint as error:
            return str(error)
    return ""


def _size_of(answer: requests.Response) -> int | None:
    """Bytes of the whole file as the host states them."""
    _, _, total = answer.headers.get("Content-Range", "").rpartition("/")
    if answer.status_code == 200:
        total = answer.headers.get("Content-Length", "")
    return int(total) if re.fullmatch(r"[0-9]{1,15}", total) else None


def _link(ok: bool | None, status: int | None, detail: str) -> Link:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Link(checked=now, ok=ok, status=status, detail=detail)
