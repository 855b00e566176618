"""Bytes over http(s) into a partial file, with retries and resume; the host is not trusted.

Every answer ends in a whole file or in one line that says what was wrong with it.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, IncompleteRead, NameResolutionError, ProtocolError

from harness.checkpoints.wording import shown
from harness.errors import CheckpointUnavailable, NotACheckpoint

Report = Callable[[int, int | None], None]  # (bytes done, total or None)

CHUNK_BYTES = 64 * 1024  # what a broken connection loses at most
TRY_AGAIN = frozenset({408, 416, 425, 429, 500, 502, 503, 504})
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "reprune"}
# What requests, urllib3 and the parsing of addresses and lengths raise for an odd answer.
FAILURES = (requests.RequestException, HTTPError, ValueError, OSError)
_BYTES = r"[0-9]{1,15}"  # a count of bytes, in the digits that int() and a header agree on
_SPAN = re.compile(rf"bytes ({_BYTES})-({_BYTES})/({_BYTES})")


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a download is. The pause doubles from one attempt to the next."""

    attempts: int = 4
    backoff_s: float = 1.0
    longest_pause_s: float = 60.0  # a host that asks for a longer one is given up
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 60.0
    max_bytes: int = 2 * 1024**3
    least_bytes_per_s: float = 20_000.0  # a slower download ends
    grace_s: float = 60.0  # before that speed is expected


class Connection(requests.Session):
    """A session that follows redirects, but none from a public host to a private address."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        try:
            target = super().get_redirect_target(resp)
            place = urljoin(resp.url, target or "")
            if _is_private(place) and not _is_private(resp.url):
                raise CheckpointUnavailable("it redirects to an address of this private network")
        except BaseException:
            resp.close()  # requests leaves an answer open whose redirect it cannot read
            raise
        return target


def _is_private(url: str) -> bool:
    """Whether the host has an address that the internet does not reach; False if it has none."""
    try:
        host = urlsplit(url).hostname or ""
        found = socket.getaddrinfo(host, None)
    except (ValueError, OSError):  # connecting will fail, and say so
        return False
    return any(not ipaddress.ip_address(str(place[4][0])).is_global for place in found)


class _Again(Exception):
    """An attempt failed in a way the next one may not."""

    def __init__(self, reason: str, *, truncated: bool = False, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.truncated = truncated
        self.pause_s = pause_s  # that the host asked for


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
        except (ValueError, KeyError, TypeError):  # the note itself was cut off
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
    Raises CheckpointUnavailable (no answer, refused, too large, too slow) or NotACheckpoint
    (truncated).
    """
    part = _Part(path)
    failed = _Again("no attempt was allowed")
    for attempt in range(policy.attempts):
        if attempt:
            time.sleep(max(policy.backoff_s * 2 ** (attempt - 1), failed.pause_s))
        try:
            return _attempt(url, part, policy, max_bytes, report)
        except _Again as error:
            failed = error
            if failed.pause_s > policy.longest_pause_s:
                break
        except BaseException:
            part.discard_unless_resumable()
            raise
    part.discard_unless_resumable()
    if failed.truncated:
        raise NotACheckpoint(f"{failed} The file is truncated; the same command tries again.")
    if failed.pause_s > policy.longest_pause_s:
        raise CheckpointUnavailable(f"{failed}; it asks for a pause of {failed.pause_s:.0f} s")
    raise CheckpointUnavailable(f"{failed} ({policy.attempts} attempts)")


def _attempt(
    url: str, part: _Part, policy: Policy, max_bytes: int, report: Report | None
) -> str | None:
    validator = part.validator()
    start = part.path.stat().st_size if validator is not None else 0
    headers = dict(HEADERS)
    if validator is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    timeout = (policy.connect_timeout_s, policy.read_timeout_s)
    with Connection() as connection:
        try:
            response = connection.get(url, headers=headers, stream=True, timeout=timeout)
        except FAILURES as error:
            raise _translated(error) from error
        with response:
            _refuse_status(response, part)
            _receive(response, part, _Terms(start, max_bytes, policy), report)
            return _header(response, "Last-Modified") or None


@dataclass(frozen=True, slots=True)
class _Terms:
    """start: first byte that was asked for. max_bytes: of the whole file."""

    start: int
    max_bytes: int
    policy: Policy

    def seconds(self, total: int | None) -> float:
        """How long the answer may take."""
        size = self.max_bytes if total is None else total
        return self.policy.grace_s + (size - self.start) / self.policy.least_bytes_per_s


def _refuse_status(response: requests.Response, part: _Part) -> None:
    status = response.status_code
    if status in (200, 206):
        return
    reason = shown(f"HTTP {status} {response.reason or ''}".rstrip())
    if status == 416 or status not in TRY_AGAIN:  # 416: we hold more than the server has
        part.discard()
    if status in TRY_AGAIN:
        raise _Again(reason, pause_s=_wanted_pause_s(_header(response, "Retry-After")))
    raise CheckpointUnavailable(reason)


def _wanted_pause_s(text: str) -> float:
    """Seconds that a Retry-After asks to wait, as a number or as a date; 0 for anything else."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _receive(
    response: requests.Response, part: _Part, terms: _Terms, report: Report | None
) -> None:
    done, total = _span(response, part, terms.start)
    if total is not None and total > terms.max_bytes:
        part.discard()
        raise CheckpointUnavailable(f"{total} bytes announced, at most {terms.max_bytes} accepted")
    try:
        if done == 0:
            part.begin(response)
        with part.path.open("ab") as file:
            for chunk in _chunks(response, terms.seconds(total)):
                done += len(chunk)
                if done > terms.max_bytes:
                    break
                file.write(chunk)
                if report is not None:
                    report(done, total)
    except OSError as error:  # of the disk: those of the network are something else by now
        msg = f"the download cannot be written ({error.strerror or type(error).__name__})"
        raise CheckpointUnavailable(msg) from error
    if done > terms.max_bytes:
        part.discard()
        raise CheckpointUnavailable(f"more than {terms.max_bytes} bytes sent")
    if total is not None and done != total:
        raise _Again(f"{done} of {total} bytes arrived.", truncated=True)


def _chunks(response: requests.Response, seconds: float) -> Iterator[bytes]:
    """The body as it arrives, so that a host that sends drop by drop is noticed."""
    latest = time.monotonic() + seconds
    done = 0
    while True:
        try:
            chunk = response.raw.read1(CHUNK_BYTES, decode_content=True)
        except (ProtocolError, IncompleteRead) as error:
            raise _Again(f"the connection closed after {done} bytes.", truncated=True) from error
        except FAILURES as error:
            raise _translated(error) from error
        if not chunk:
            return
        done += len(chunk)
        yield chunk
        if time.monotonic() > latest:
            raise CheckpointUnavailable(f"too slow: {done} bytes in {seconds:.0f} s")


def _span(response: requests.Response, part: _Part, start: int) -> tuple[int, int | None]:
    """First byte of this answer, and the length of the whole file if it is stated."""
    if response.status_code == 206:
        match = _SPAN.fullmatch(_header(response, "Content-Range"))
        tag, known = _header(response, "ETag"), part.validator()
        changed = start > 0 and known is not None and '"' in known and tag not in ("", known)
        if match is None or int(match[1]) != start or changed:
            part.discard()
            raise _Again("the server answered with another byte range than asked for")
        return start, int(match[3])
    length = _header(response, "Content-Length")
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    return 0, int(length) if re.fullmatch(_BYTES, length) and not encoded else None


def _header(response: requests.Response, name: str) -> str:
    return shown(str(response.headers.get(name, "")), most=1000)


def _translated(error: Exception) -> Exception:
    """Another attempt where that may help, else the end of this source."""
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return CheckpointUnavailable(f"{type(error).__name__}: no trusted connection")
    said = failure(error)
    passing = isinstance(error, requests.ConnectionError | requests.Timeout | HTTPError)
    if passing and not _is_unknown_host(error):  # offline: waiting does not help
        return _Again(said)
    return CheckpointUnavailable(said)


def failure(error: Exception) -> str:
    """In a few words why a host gave no answer, or none that can be understood."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no trusted connection"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy lets nothing through"
    if _is_unknown_host(error):
        return "host name not found (no network?)"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"{type(error).__name__}: {shown(str(error))}"


def _is_unknown_host(error: Exception) -> bool:
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(cause, NameResolutionError)
