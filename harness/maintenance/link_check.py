"""Is what the registry points to still there? Asked politely, and remembered.

One host is asked one thing at a time, a few hosts at once. A page is asked for its head, a file for
its first bytes: a login page that calls itself a success is kept apart from the file it stands for.
The answers lie in reports/links.json; `results.load_links` is how everybody else reads them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from harness.errors import NotACheckpoint
from harness.results import Kind, Link, in_browser
from harness.system import Progress, Silent

if TYPE_CHECKING:
    import requests

HEAD_BYTES = 64 * 1024  # enough to tell a page from a file
HEADERS = {"User-Agent": "reprune link check", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How a host is treated."""

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 20.0
    hosts_at_once: int = 6
    pause_s: float = 0.5  # between two questions to one host


def probe_links(
    wanted: Mapping[str, Kind],
    limits: RateLimits = RateLimits(),  # noqa: B008  # frozen
    progress: Progress | None = None,
) -> dict[str, Link]:
    """Ask every address once; address -> answer, in the order given. Never raises for an answer."""
    from concurrent.futures import ThreadPoolExecutor

    bars = progress or Silent()
    bars.stage("links", total=len(wanted))
    by_host: dict[str, list[str]] = {}
    for address in wanted:
        by_host.setdefault(_host(address), []).append(address)
    found: dict[str, Link] = {}

    def ask_host(mine: list[str]) -> dict[str, Link]:
        answers = {}
        for i, address in enumerate(mine):
            if i:
                time.sleep(limits.pause_s)
            answers[address] = ask(address, wanted[address], limits)
            bars.advance()
        return answers

    with ThreadPoolExecutor(max_workers=limits.hosts_at_once) as pool:
        for answers in pool.map(ask_host, by_host.values()):
            found |= answers
    return {address: found[address] for address in wanted}


def ask(address: str, kind: Kind, limits: RateLimits = RateLimits()) -> Link:  # noqa: B008  # frozen
    """The answer of one address."""
    import requests

    url = in_browser(address)
    timeout = (limits.connect_timeout_s, limits.read_timeout_s)
    try:
        with requests.Session() as session:
            session.headers.update(HEADERS)
            if kind == "page":
                answer = session.head(url, timeout=timeout, allow_redirects=True)
                # Some hosts refuse HEAD, or answer it differently from GET.
                if answer.ok:
                    return _link(True, answer.status_code, "answers")
            wish = {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
            with session.get(url, headers=wish, stream=True, timeout=timeout) as answer:
                return _judged(answer, kind, address)
    except requests.RequestException as error:
        return _link(None, None, _what_failed(error))


def _judged(answer: requests.Response, kind: Kind, address: str) -> Link:
    status = answer.status_code
    if status in (404, 410):
        return _link(False, status, f"HTTP {status} {answer.reason or ''}".strip())
    if status in (401, 403):
        # Pages refuse programs that a browser would be let through; a published file must not.
        refused = "asks for a login" if kind == "file" else "refuses programs, maybe not browsers"
        return _link(False if kind == "file" else None, status, refused)
    if status not in (200, 206):
        return _link(None, status, f"HTTP {status} {answer.reason or ''}".strip())
    if kind == "page":
        return _link(True, status, "answers")
    head = next(answer.iter_content(HEAD_BYTES), b"")
    if address.startswith("gdrive:"):
        page = head.lower()
        if b"uc-download-link" in page or b"download-form" in page:
            return _link(True, status, "there, behind the page that large files on Drive have")
        if b"quota" in page and b"<html" in page:  # over within a day
            return _link(None, status, "the file's download quota is used up for today")
    problem = not_a_file(head)
    if problem:
        return _link(False, status, problem)
    size = size_of(answer)
    return _link(True, status, "a file" + (f" of {size} bytes" if size else ""))


def fetch_link(source: str, file: Path, attempts: int = 2) -> None:
    """Fill `file` with what lies at a link. Raises CheckpointUnavailable or NotACheckpoint."""
    from harness.checkpoints import Policy, download, download_from_drive

    patience = Policy(attempts=attempts)
    if source.startswith("gdrive:"):
        download_from_drive(source.removeprefix("gdrive:"), file, patience.max_bytes)
    else:
        download(source, file, patience, patience.max_bytes)


def not_a_file(head: bytes) -> str:
    """Why the first bytes of an answer belong to no checkpoint; "" if they may."""
    from harness.checkpoints import sniff

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


def size_of(answer: requests.Response) -> int | None:
    """Bytes of the whole file as the host tells them."""
    _, _, total = answer.headers.get("Content-Range", "").rpartition("/")
    if answer.status_code == 200:
        total = answer.headers.get("Content-Length", "")
    return int(total) if total.isdigit() else None


def _host(address: str) -> str:
    if address.startswith("gdrive:"):
        return "drive.google.com"
    return urlsplit(address).netloc


def _link(ok: bool | None, status: int | None, detail: str) -> Link:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Link(checked=now, ok=ok, status=status, detail=detail)


def _what_failed(error: requests.RequestException) -> str:
    import requests
    from urllib3.exceptions import NameResolutionError

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "no trusted connection"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy lets nothing through"
    cause = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(cause, NameResolutionError):
        return "host name not found (no network?)"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return type(error).__name__
