"""Bytes over http(s) and from Google Drive into a partial file, with retries and resume."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
from urllib3.exceptions import NameResolutionError

from harness.errors import CheckpointUnavailable, NotACheckpoint

Report = Callable[[int, int | None], None]  # (bytes done, total or None)

CHUNK_BYTES = 64 * 1024  # what a broken connection loses at most
TRY_AGAIN = frozenset({408, 416, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a download is. The pause doubles from one attempt to the next."""

    attempts: int = 4
    backoff_s: float = 1.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    max_bytes: int = 2 * 1024**3


class _Again(Exception):
    """An attempt failed in a way the next one may not."""

    def __init__(self, reason: str, *, truncated: bool = False) -> None:
        super().__init__(reason)
        self.truncated = truncated


@dataclass(frozen=True, slots=True)
class _Part:
    """A partial file, and beside it what tells whether the server still has the same bytes."""

    path: Path

    @property
    def note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def validator(self) -> str | None:
        """ETag or date of the bytes on disk; None = they cannot be resumed."""
        if not self.path.is_file() or not self.note.is_file():
            return None
        try:
            return str(json.loads(self.note.read_text(encoding="utf-8"))["validator"])
        except (ValueError, KeyError):  # the note itself was cut off
            return None

    def begin(self, response: requests.Response) -> None:
        """Empty the file, then note what its coming content is known by."""
        self.path.write_bytes(b"")
        tag = response.headers.get("ETag", "")
        strong = "" if tag.startswith("W/") else tag
        validator = strong or response.headers.get("Last-Modified", "")
        self.note.unlink(missing_ok=True)
        if validator:
            self.note.write_text(json.dumps({"validator": validator}), encoding="utf-8")

    def discard_unless_resumable(self) -> None:
        if self.validator() is None:
            self.discard()

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def download(
    url: str, path: Path, policy: Policy, max_bytes: int, report: Report | None = None
) -> str | None:
    """Last-Modified as the server states it, once `path` holds the whole body.

    Continues what an earlier call left at `path` where the server proves it is the same file.
    On failure `path` stays only if it can be continued. Redirects lead to http(s) or fail.
    Raises CheckpointUnavailable (no answer, refused, too large) or NotACheckpoint (truncated).
    """
    part = _Part(path)
    failure = _Again("no attempt was allowed")
    for attempt in range(policy.attempts):
        if attempt:
            time.sleep(policy.backoff_s * 2 ** (attempt - 1))
        try:
            return _attempt(url, part, policy, max_bytes, report)
        except _Again as error:
            failure = error
        except BaseException:
            part.discard_unless_resumable()
            raise
    part.discard_unless_resumable()
    if failure.truncated:
        raise NotACheckpoint(f"{failure} The file is truncated; the same command tries again.")
    raise CheckpointUnavailable(f"{failure} ({policy.attempts} attempts)")


def _attempt(
    url: str, part: _Part, policy: Policy, max_bytes: int, report: Report | None
) -> str | None:
    validator = part.validator()
    headers = {"Accept-Encoding": "identity", "User-Agent": "reprune"}
    if validator is not None:
        headers |= {"Range": f"bytes={part.path.stat().st_size}-", "If-Range": validator}
    timeout = (policy.connect_timeout_s, policy.read_timeout_s)
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            _refuse_status(response, part)
            _receive(response, part, max_bytes, report)
            return response.headers.get("Last-Modified")
    except requests.RequestException as error:
        raise _translated(error, part) from error


def _refuse_status(response: requests.Response, part: _Part) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    reason = f"HTTP {status} {response.reason}".rstrip()
    if status == 416 or status not in TRY_AGAIN:  # 416: we hold more than the server has
        part.discard()
    if status in TRY_AGAIN:
        raise _Again(reason)
    raise CheckpointUnavailable(reason)


def _receive(
    response: requests.Response, part: _Part, max_bytes: int, report: Report | None
) -> None:
    start, total = _span(response, part)
    if total is not None and total > max_bytes:
        part.discard()
        raise CheckpointUnavailable(f"{total} bytes announced, at most {max_bytes} accepted")
    if start == 0:
        part.begin(response)
    done = start
    with part.path.open("ab") as file:
        for chunk in response.iter_content(CHUNK_BYTES):
            done += len(chunk)
            if done > max_bytes:
                break
            file.write(chunk)
            if report is not None:
                report(done, total)
    if done > max_bytes:
        part.discard()
        raise CheckpointUnavailable(f"more than {max_bytes} bytes sent")
    if total is not None and done != total:
        raise _Again(f"{done} of {total} bytes arrived.", truncated=True)


def _span(response: requests.Response, part: _Part) -> tuple[int, int | None]:
    """First byte of this answer, and the length of the whole file if it is told."""
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != part.path.stat().st_size:
            part.discard()
            raise _Again("the server answered with another byte range than asked for")
        return int(match[1]), int(match[2])
    length = response.headers.get("Content-Length", "")
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    return 0, int(length) if length.isdigit() and not encoded else None


def _translated(error: requests.RequestException, part: _Part) -> Exception:
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        done = part.path.stat().st_size if part.path.exists() else 0
        return _Again(f"the connection closed after {done} bytes.", truncated=True)
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return CheckpointUnavailable(f"{type(error).__name__}: no trusted connection")
    if isinstance(error, requests.Timeout):
        return _Again("no answer in time")
    if isinstance(error, requests.ConnectionError):
        cause = getattr(error.args[0], "reason", None) if error.args else None
        if isinstance(cause, NameResolutionError):  # offline: waiting does not help
            return CheckpointUnavailable("host name not found (no network?)")
        return _Again("no connection")
    return CheckpointUnavailable(f"{type(error).__name__}: {error}")


class _Metered(io.FileIO):
    """A file that reports its growth and refuses to pass a limit."""

    def __init__(self, path: Path, max_bytes: int, report: Report | None) -> None:
        super().__init__(path, "wb")
        self._max_bytes = max_bytes
        self._report = report

    def write(self, data: object) -> int:
        written = super().write(data)  # type: ignore[arg-type]
        if self.tell() > self._max_bytes:
            raise CheckpointUnavailable(f"more than {self._max_bytes} bytes sent")
        if self._report is not None:
            self._report(self.tell(), None)
        return written


def download_from_drive(
    file_id: str, path: Path, max_bytes: int, report: Report | None = None
) -> None:
    """Fill `path` with a public Google Drive file; nothing stays at `path` on failure.

    Raises CheckpointUnavailable with Drive's own words (quota, permission, no connection).
    A quota page that Drive serves as if it were the file is left for the sniffer.
    """
    import gdown

    try:
        with _Metered(path, max_bytes, report) as sink:
            gdown.download(id=file_id, output=sink, quiet=True, use_cookies=False)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, CheckpointUnavailable) or not isinstance(error, Exception):
            raise
        offline = isinstance(error, requests.ConnectionError | requests.Timeout)
        words = "no connection" if offline else " ".join(str(error).split())[:200]
        raise CheckpointUnavailable(f"{type(error).__name__}: {words}") from error
