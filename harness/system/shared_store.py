"""Files of the home folder, copied to an address that machines without a common file system reach.

The address is any that fsspec knows: a folder, s3://bucket/place, sftp://host/place. Below it files
have the names that they have below the home folder.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import paths
from harness.errors import DataError, ProtocolError
from harness.system.files import replacing

PART = ".part"  # of a file that is being written there


class SharedStore:
    """One address. Its methods raise DataError when it cannot be read or written."""

    def __init__(self, address: str) -> None:
        """Raises ProtocolError for an address unknown to fsspec, and for the home folder."""
        import fsspec

        self.address = address
        try:
            self._files, self._root = fsspec.url_to_fs(address)
        except (ImportError, ValueError) as error:
            msg = f"--store {address}: {error}. A folder, or an address such as s3://bucket/place"
            raise ProtocolError(msg) from error
        if "file" in self._files.protocol and Path(self._root).resolve() == paths.home().resolve():
            msg = f"--store {address} is the home folder. Nodes that see it need no --store"
            raise ProtocolError(msg)

    def keep(self, file: Path, name: str | None = None) -> None:
        """Copy `file` there, whole or not at all. name: other than that below the home folder."""
        target = f"{self._root}/{name}" if name else self._place(file)
        part = f"{target}.{secrets.token_hex(4)}{PART}"
        with self._reached("write"):
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(file), part)
            self._files.mv(part, target)

    def fetch(self, file: Path, name: str | None = None) -> None:
        """Copy what is kept of `file` here, in the place of what is here."""
        with self._reached("read"), replacing(file) as part:
            self._files.get_file(f"{self._root}/{name}" if name else self._place(file), str(part))

    def has(self, name: str) -> bool:
        """Whether a file of that name is kept."""
        with self._reached("read"):
            found: bool = self._files.exists(f"{self._root}/{name}")
        return found

    def names(self, folder: Path) -> list[str]:
        """Names below `folder` of the files that are kept of it, sorted."""
        base = self._place(folder)
        with self._reached("read"):
            self._files.invalidate_cache()
            found = [path.removeprefix(f"{base}/") for path in self._files.find(base)]
        inside = [name for name in found if ".." not in name.split("/")]
        return sorted(name for name in inside if not name.endswith(PART))

    def forget(self, path: Path) -> None:
        """Remove what is kept of a file or folder, if anything is."""
        with self._reached("write"):
            if self._files.exists(self._place(path)):
                self._files.rm(self._place(path), recursive=True)

    def _place(self, path: Path) -> str:
        return f"{self._root}/{path.resolve().relative_to(paths.home().resolve()).as_posix()}"

    @contextmanager
    def _reached(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (DataError, ProtocolError):
            raise
        except Exception as error:  # every kind of store has exceptions of its own
            said = f"{type(error).__name__}: {error}".partition("\n")[0]
            msg = f"cannot {verb} the store {self.address} ({said})"
            raise DataError(f"{msg}. Is it there, and open to this node too?") from error
