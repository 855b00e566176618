"""Files behind http and https."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from harness.checkpoints.sources.source import Delivered, Request, Source
from harness.errors import CheckpointUnavailable
from harness.system import sha256_file

if TYPE_CHECKING:
    from harness.checkpoints.downloading import Policy, Report
    from harness.results import Kind, Link
    from harness.system import Progress

ERROR_PAGE_BYTES = 1024 * 1024  # room for a host's error page where the file itself is smaller


class RemoteFile(Source):
    """A file that another host has."""

    @property
    @abstractmethod
    def address(self) -> str:
        """What a browser opens."""

    @property
    def host(self) -> str:
        """The host and its port, as far as the address names one."""
        try:
            return urlsplit(self.address).netloc
        except ValueError:
            return self.address

    @property
    def label(self) -> str:
        try:
            return urlsplit(self.address).hostname or self.text.partition(":")[0]
        except ValueError:
            return self.text.partition(":")[0]

    @abstractmethod
    def receive(
        self, path: Path, policy: Policy, max_bytes: int, report: Report | None = None
    ) -> str | None:
        """The time of the last change as the host states it, once `path` holds the whole file.

        Raises CheckpointUnavailable or NotACheckpoint.
        """

    @contextmanager
    def fetch(self, request: Request) -> Iterator[Delivered]:
        if request.offline:
            raise CheckpointUnavailable("not asked (offline)")
        part = request.folder / f"{hashlib.sha256(self.text.encode()).hexdigest()[:8]}.part"
        size = request.checkpoint.size_bytes
        limit = request.policy.max_bytes if size is None else max(size, ERROR_PAGE_BYTES)
        report = _reporter(request.progress, f"download from {self.label}")
        changed = self.receive(part, request.policy, limit, report)
        try:
            yield Delivered(part, self.text, sha256_file(part), part.stat().st_size, changed)
        finally:  # it is converted, or cannot be
            part.unlink()
            part.with_name(part.name + ".json").unlink(missing_ok=True)

    def probe(self, kind: Kind, timeout_s: tuple[float, float]) -> Link:
        """What the host answers, of a file to its first bytes. timeout_s: to connect, to read.

        Never raises for an answer.
        """
        from harness.checkpoints.sources.probing import probe

        return probe(self, kind, timeout_s)

    def page_says(self, head: bytes) -> tuple[bool | None, str] | None:
        """(alive, in words) where the host is known to answer with a page; else None."""
        return None


class Web(RemoteFile):
    """http(s)://..."""

    prefixes: ClassVar[tuple[str, ...]] = ("https:", "http:")

    @property
    def address(self) -> str:
        return self.text

    def receive(
        self, path: Path, policy: Policy, max_bytes: int, report: Report | None = None
    ) -> str | None:
        from harness.checkpoints.downloading import download

        return download(self.address, path, policy, max_bytes, report)


def _reporter(progress: Progress | None, text: str) -> Report | None:
    """Bytes done so far -> steps of a progress bar; a download that starts over, starts a bar."""
    if progress is None:
        return None
    seen = 0

    def report(done: int, total: int | None) -> None:
        nonlocal seen
        if seen == 0 or done < seen:
            progress.stage(text, total)
            seen = 0
        progress.advance(done - seen)
        seen = done

    return report
