"""Result files by name. Imports nothing heavy: `bench list` lives on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from harness import paths
from harness.errors import MetricError

SCHEMA_VERSION: Literal[2] = 2


def files(folder: Path | None = None, entry: str = "*") -> list[Path]:
    """All result files, or those of one entry, oldest first.

    folder: None = those on the project's record and those measured here. A result that lies in
    both is read from the record.
    """
    bases = paths.layers("results") if folder is None else (folder,)
    found = {
        (path.name, path.parent.name): path
        for base in reversed(bases)
        for path in base.glob(f"{entry}/*.json")
    }
    return [found[place] for place in sorted(found)]


def stored_ids() -> tuple[str, ...]:
    """The ids of entries and runs that have a stored result, sorted."""
    return tuple(sorted({file.parent.name for file in files()}))


def file_of(entry: str, result_id: str) -> Path:
    """The JSON file of a stored result; its answers per image lie beside it as .npz.

    For a result that is in no layer, where `save` would put it.
    """
    *_, own = places = [base / entry / f"{result_id}.json" for base in paths.layers("results")]
    return next((place for place in places if place.is_file()), own)


def as_today(document: Any) -> dict[str, Any]:
    """A stored document in today's schema. Raises KeyError, TypeError or ValueError if it is none.

    Other versions than the first and today's are left as they are, for the reader to refuse.
    """
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


def unreadable(file: Path, problem: str) -> MetricError:
    """The error for a file that is no result of this schema."""
    return MetricError(
        f"{file.parent.name}/{file.name}: not a result of schema {SCHEMA_VERSION}: {problem}. "
        "Written by another version or edited by hand? Restore the file, or move it away."
    )
