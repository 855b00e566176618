"""Files that are here already: below the data root, or shipped with the project."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from harness import paths
from harness.checkpoints.hashed_copies import copy_into
from harness.checkpoints.sources.source import Delivered, Request, Source
from harness.errors import CheckpointUnavailable, RegistryError


class LocalFile(Source):
    """A path below a root of this machine."""

    remedy = ""  # what to do when it is not there

    @property
    def label(self) -> str:
        return self.text

    @abstractmethod
    def root(self, data_root: Path) -> Path:
        """The folder that the path is relative to."""

    def path(self, data_root: Path) -> Path:
        """Where the file is, or would be. Raises RegistryError if that is outside the root."""
        # Links inside the root may lead elsewhere: that is how people keep data on another disk.
        relative, name = PurePosixPath(self.rest), self.rest
        absolute = not name or relative.is_absolute()
        if absolute or ".." in relative.parts or "\\" in name or ":" in name:
            msg = (
                f"checkpoint source {self.text!r} leaves the folder it is relative to. "
                "Correct the entry's sources in registry.yaml."
            )
            raise RegistryError(msg)
        return self.root(data_root) / relative

    @contextmanager
    def fetch(self, request: Request) -> Iterator[Delivered]:
        path = self.path(request.data_root)
        if not path.is_file():
            raise CheckpointUnavailable(f"no such file; {self.remedy}")
        copy = copy_into(request.folder, path)
        yield Delivered(copy.path, self.text, copy.sha256, copy.size_bytes)


class DataFile(LocalFile):
    """data:PATH, below the data root."""

    prefixes = ("data:",)
    remedy = "set --data-root or BENCH_DATA_ROOT"

    def root(self, data_root: Path) -> Path:
        return data_root


class ShippedFile(LocalFile):
    """shipped:NAME, which comes with the project."""

    prefixes = ("shipped:",)
    remedy = "reinstall"

    @property
    def label(self) -> str:
        return f"shipped {self.rest}"

    def root(self, data_root: Path) -> Path:
        return paths.shipped_checkpoints()
