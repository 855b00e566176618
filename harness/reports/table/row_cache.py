"""Rows of all stored results, fast: result files never change, so each is read once.

A large store keeps its rows in <home>/cache, keyed by file name, size and time of change, and
thrown away whenever the code that makes rows is another. Losing the file costs one slower table.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import StateWarning
from harness.reports.table import rows
from harness.reports.table.rows import Row, row
from harness.results import each_readable, full_numbers, load_stored, schema, verdicts
from harness.system import read_sealed, write_sealed

WORTH_KEEPING = 200  # files; fewer are read about as fast as the cache would be

_values = attrgetter(*(field.name for field in fields(Row)))


def stored_rows(folder: Path | None = None) -> list[Row]:
    """One row per stored result that saw images, oldest first.

    folder: None = those on the project's record and those measured here.
    A file that is no result is named in a StateWarning and left out.
    """
    bases = paths.layers("results") if folder is None else (folder,)
    cache = paths.cache_folder() / "rows.json"
    known = _read(cache)
    cached: dict[str, list[Any]] = {}
    found: list[Row] = []
    fresh = 0
    for base, name, stamp in _listing(bases):
        before = known.get(name)
        if before is not None and before[0] == stamp:
            found.append(Row(*before[1]))
            cached[name] = before
            continue
        for result in each_readable([base / name], partial(load_stored, layers=False)):
            if result.counts is None:  # weights alone: without an accuracy there is no line
                continue
            made = row(result)
            found.append(made)
            cached[name] = [stamp, _values(made)]
            fresh += 1
    if fresh > WORTH_KEEPING:
        _write(cache, cached)
    return found


def _listing(bases: Iterable[Path]) -> Iterator[tuple[Path, str, str]]:
    """(folder, path below it, size and time of change) of every result file, by file name.

    A file that lies in several folders is taken from the first.
    """
    files: dict[tuple[str, str], tuple[Path, str, str]] = {}
    for base in bases:
        with suppress(FileNotFoundError), os.scandir(base) as entries:
            for entry in entries:
                if entry.is_dir():
                    for file, name, stamp in _within(entry):
                        files.setdefault((file, name), (base, name, stamp))
    for place in sorted(files):
        yield files[place]


def _within(entry: os.DirEntry[str]) -> Iterator[tuple[str, str, str]]:
    with os.scandir(entry.path) as inside:
        for file in inside:
            if file.name.endswith(".json") and not file.name.startswith("."):
                facts = file.stat()
                stamp = f"{facts.st_size} {facts.st_mtime_ns}"
                yield file.name, f"{entry.name}/{file.name}", stamp


def _code() -> str:
    """Hash of the sources that decide what a row says."""
    digest = hashlib.sha256()
    for module in (rows, schema, verdicts, full_numbers):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()


def _read(cache: Path) -> dict[str, list[Any]]:
    try:
        code, cached = json.loads(read_sealed(cache))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        note = f"stored rows {cache.name} cannot be used ({error}); every result is read again"
        warnings.warn(note, StateWarning, stacklevel=2)
        return {}
    return cached if code == _code() else {}


def _write(cache: Path, cached: dict[str, list[Any]]) -> None:
    with suppress(OSError):  # a home that cannot be written to costs time, nothing else
        write_sealed(cache, json.dumps([_code(), cached], separators=(",", ":")).encode())
