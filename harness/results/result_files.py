"""Result files by name. Imports nothing heavy: `bench list` lives on it."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from harness import paths
from harness.errors import DamagedFile, StateWarning

F = TypeVar("F")
R = TypeVar("R")

SCHEMA_VERSION: Literal[2] = 2


def files(folder: Path | None = None, entry: str | None = None) -> list[Path]:
    """All result files, or those of one entry, oldest first.

    folder: None = those on the project's record and those measured here. A result that lies in
    both is read from the record.
    """
    bases = paths.layers("results") if folder is None else (folder,)
    found = {
        (path.name, path.parent.name): path
        for base in reversed(bases)
        for path in json_files(base, entry)
    }
    return [found[place] for place in sorted(found)]


def stored_ids() -> tuple[str, ...]:
    """The ids of entries and runs that have a stored result, sorted."""
    return tuple(sorted({file.parent.name for file in files()}))


def json_files(base: Path, entry: str | None) -> Iterator[Path]:
    """The JSON files in the folder of one entry below `base`, or of all; hidden ones are none.

    A name with a slash, a wildcard or more letters than a file name can have is nobody's.
    """
    folder = "*" if entry is None else glob.escape(entry)
    if entry is not None and not is_file_name(entry):
        return
    for path in base.glob(f"{folder}/*.json"):
        if not path.name.startswith("."):
            yield path


def is_file_name(name: str) -> bool:
    """Whether `name` can be the name of a file or folder, and leads nowhere else."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return 0 < len(encoded) <= 255 and name not in (".", "..") and not set(name) & set("/\\\0")


def file_of(entry: str, result_id: str) -> Path:
    """The JSON file of a stored result; its answers per image lie beside it as .npz.

    For a result that is in no layer, where `save` would put it.
    """
    *_, own = places = [base / entry / f"{result_id}.json" for base in paths.layers("results")]
    return next((place for place in places if place.is_file()), own)


def each_readable(files: Iterable[F], read: Callable[[F], R]) -> Iterator[R]:
    """What is read of every file; one that is damaged is named in a StateWarning and left out."""
    for file in files:
        try:
            found = read(file)
        except DamagedFile as error:
            warnings.warn(f"left out: {error}", StateWarning, stacklevel=2)
        else:
            yield found


def require_place(file: Path, entry: object, result_id: object) -> None:
    """Raises DamagedFile unless the file lies where that result is stored."""
    if (entry, result_id) != (file.parent.name, file.stem):
        msg = f"{file.parent.name}/{file.name}: holds result {result_id!r} of {entry!r}"
        raise DamagedFile(f"{msg}. Moved or renamed? Put it back under its own name, or away")


def as_today(document: Any) -> dict[str, Any]:
    """A stored document in today's schema. Raises KeyError, TypeError or ValueError if it is none.

    Other versions than the first and today's are left as they are, for the reader to refuse.
    """
    if not isinstance(document, dict):
        raise ValueError("expected a mapping")
    if document["schema_version"] == 1:
        from harness.results.version_1 import upgraded

        return upgraded(document)
    return dict(document)


def status_as_today(document: Any) -> str:
    """The status of a stored document's verdict, of today's rules; all that `bench list` needs."""
    status = document["verdict"]["status"]
    if document["schema_version"] == 1 and status == "not reached":
        status = as_today(document)["verdict"]["status"]
    return str(status)


def unreadable(file: Path, problem: str) -> DamagedFile:
    """The error for a file that is no result of this schema."""
    return DamagedFile(
        f"{file.parent.name}/{file.name}: not a result of schema {SCHEMA_VERSION}: {problem}. "
        "Written by another version or edited by hand? Restore the file, or move it away."
    )
