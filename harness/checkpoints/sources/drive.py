"""Public files of Google Drive, by id."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkpoints.sources.web import RemoteFile
from harness.checkpoints.wording import shown
from harness.errors import CheckpointUnavailable

if TYPE_CHECKING:
    from harness.checkpoints.downloading import Policy, Report

ADDRESS = "https://drive.google.com/uc?export=download&id="


class Drive(RemoteFile):
    """gdrive:ID"""

    prefixes = ("gdrive:",)

    @property
    def address(self) -> str:
        return ADDRESS + self.rest

    def receive(
        self, path: Path, policy: Policy, max_bytes: int, report: Report | None = None
    ) -> None:
        """Fill `path`; nothing stays there on failure.

        Raises CheckpointUnavailable with Drive's own words (quota, permission, no connection).
        A quota page that Drive serves as if it were the file is left for the sniffer.
        """
        import gdown
        import requests

        try:
            with _Metered(path, max_bytes, report) as sink:
                gdown.download(id=self.rest, output=sink, quiet=True, use_cookies=False)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, CheckpointUnavailable) or not isinstance(error, Exception):
                raise
            offline = isinstance(error, requests.ConnectionError | requests.Timeout)
            words = "no connection" if offline else shown(" ".join(str(error).split()), 200)
            raise CheckpointUnavailable(f"{type(error).__name__}: {words}") from error

    def page_says(self, head: bytes) -> tuple[bool | None, str] | None:
        page = head.lower()
        if b"uc-download-link" in page or b"download-form" in page:
            return True, "there, behind the page that large files on Drive have"
        if b"quota" in page and b"<html" in page:  # over within a day
            return None, "the file's download quota is used up for today"
        return None


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
