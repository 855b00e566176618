"""Files of Zenodo's records, by DOI. The record says which files there are, how long and their md5.

The record is asked first, so that a file that is gone, or another one under its name, is said in
the archive's own words; which bytes count is still decided by the pinned sha256.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.checkpoints.sources.web import RemoteFile
from harness.checkpoints.wording import shown
from harness.errors import CheckpointUnavailable, HashMismatch
from harness.system import read_json

if TYPE_CHECKING:
    from harness.checkpoints.downloading import Policy, Report

HOST = "https://zenodo.org"
RECORD_BYTES = 4 * 1024**2  # of a record of a thousand files
_MD5 = re.compile(r"md5:[0-9a-f]{32}")


class Zenodo(RemoteFile):
    """doi:10.5281/zenodo.RECORD/FILE"""

    prefixes = ("doi:",)

    @property
    def address(self) -> str:
        return f"{HOST}/records/{self._record}/files/{quote(self._name)}?download=1"

    @property
    def _record(self) -> str:
        return self.rest.split("/")[1].removeprefix("zenodo.")

    @property
    def _name(self) -> str:
        return self.rest.split("/", 2)[2]

    def receive(
        self, path: Path, policy: Policy, max_bytes: int, report: Report | None = None
    ) -> str | None:
        """As every remote file; raises HashMismatch where the bytes are not those of the record."""
        from harness.checkpoints.downloading import download

        listed = self._listed(path.parent, policy)
        if listed.size_bytes > max_bytes:
            msg = f"its record lists {listed.size_bytes} bytes, at most {max_bytes} accepted"
            raise CheckpointUnavailable(msg)
        changed = download(self.address, path, policy, max_bytes, report)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
        if found.hexdigest() != listed.md5:
            path.unlink()
            path.with_name(path.name + ".json").unlink(missing_ok=True)
            raise HashMismatch(f"its record says md5 {listed.md5}, got {found.hexdigest()}")
        return changed

    def _listed(self, folder: Path, policy: Policy) -> _Listed:
        """What the record says of the file. Raises CheckpointUnavailable."""
        from harness.checkpoints.downloading import download

        with tempfile.TemporaryDirectory(prefix="copy-", dir=folder) as inside:
            answer = Path(inside) / "record"
            download(f"{HOST}/api/records/{self._record}", answer, policy, RECORD_BYTES)
            try:
                files = _files(answer.read_bytes())
            except (ValueError, KeyError, TypeError) as error:
                msg = f"record {self._record} is not one of files ({shown(str(error), 80)})"
                raise CheckpointUnavailable(msg) from error
        if self._name not in files:
            known = shown(", ".join(files), 200) or "none"
            msg = f"record {self._record} lists no file {shown(self._name)!r}; its files: {known}"
            raise CheckpointUnavailable(msg)
        return files[self._name]


@dataclass(frozen=True, slots=True)
class _Listed:
    size_bytes: int
    md5: str


def _files(record: bytes) -> dict[str, _Listed]:
    """Name -> what is listed of it. Raises ValueError, KeyError or TypeError for anything odd."""
    document = read_json(record)
    if not isinstance(document, dict):
        raise TypeError("no JSON object")
    found = {}
    for file in document["files"]:
        name, size, checksum = file["key"], file["size"], file["checksum"]
        if not isinstance(name, str) or type(size) is not int or size < 0:
            raise TypeError("a file without name or size")
        if not isinstance(checksum, str) or not _MD5.fullmatch(checksum):
            raise ValueError(f"{name}: no md5")
        found[name] = _Listed(size, checksum.removeprefix("md5:"))
    return found
