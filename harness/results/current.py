"""Which stored result of an entry counts: whoever shows, compares or hands out results asks here.

Former ids are followed to today's first. Results of one's own live apart from those of entries,
whatever they are called. Evaluated, trained and pruned results are never mixed; of
one kind a smoke run never hides a full result, and the newest of the rest counts. Where one result
has to speak for an entry, a full one does before a smoke run and a re-evaluation before a training:
what the published file holds is not changed by what a training reached later. A count of the
weights alone speaks where there is nothing else.

Imports nothing heavy: `bench list` lives on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from harness.results.result_files import (
    each_readable,
    files,
    require_place,
    status_as_today,
    unreadable,
)
from harness.system import read_json

if TYPE_CHECKING:
    from harness.results.verdicts import Comparison

NO_ALIASES: Mapping[str, str] = MappingProxyType({})


class Stored(Protocol):
    """What decides: a Result has it, and so has its row in a table."""

    @property
    def entry(self) -> str: ...
    @property
    def paper(self) -> str | None: ...
    @property
    def mode(self) -> str: ...
    @property
    def smoke(self) -> str: ...
    @property
    def result_id(self) -> str: ...


class Judged(Stored, Protocol):
    """What decides, and what was found of every figure."""

    @property
    def metrics(self) -> Mapping[str, Comparison]: ...


R = TypeVar("R", bound=Stored)


def per_mode(results: Iterable[R], aliases: Mapping[str, str]) -> dict[tuple[str, str], R]:
    """(today's id, mode) -> the result that counts. aliases: former id -> today's.

    The mode of results of one's own begins with "own ", so that no name takes an entry's place.
    """
    chosen: dict[tuple[str, str], R] = {}
    for result in results:
        if result.paper is None:
            key = (result.entry, f"own {result.mode}")
        else:
            key = (aliases.get(result.entry, result.entry), result.mode)
        if key not in chosen or _rank(result) >= _rank(chosen[key]):
            chosen[key] = result
    return chosen


def per_entry(results: Iterable[R], aliases: Mapping[str, str]) -> dict[str, R]:
    """Today's id -> the one result that speaks for the entry. aliases: as in `per_mode`.

    One's own speaks for a name only where no entry has it.
    """
    chosen: dict[str, R] = {}
    for (name, _), result in per_mode(results, aliases).items():
        if name not in chosen or _weight(result) > _weight(chosen[name]):
            chosen[name] = result
    return chosen


def names_of(name: str, aliases: Mapping[str, str]) -> tuple[str, ...]:
    """Every name under which results of the entry called `name` may lie, today's first."""
    today = aliases.get(name, name)
    return (today, *sorted(former for former, now in aliases.items() if now == today))


def verdicts(aliases: Mapping[str, str], folder: Path | None = None) -> dict[str, str]:
    """Today's id -> status of the result that speaks for it. Reads only what that needs.

    A file that is no result is named in a StateWarning and left out.
    """
    stored = each_readable(files(folder), _read)
    return {name: result.status for name, result in per_entry(stored, aliases).items()}


@dataclass(frozen=True, slots=True)
class _Verdict:
    entry: str
    paper: str | None
    mode: str
    smoke: str
    result_id: str
    status: str


def _read(file: Path) -> _Verdict:
    try:
        data: Any = read_json(file.read_bytes())
        found = _Verdict(
            entry=data["entry"],
            paper=data["paper"],
            mode=data["mode"],
            smoke=data["smoke"],
            result_id=data["result_id"],
            status=status_as_today(data),
        )
    except OSError as error:
        raise unreadable(file, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(file, f"{type(error).__name__}: {error}") from error
    if not all(isinstance(value, str) for value in astuple(replace(found, paper=""))):
        raise unreadable(file, "a text is missing")
    require_place(file, found.entry, found.result_id)
    return found


def _rank(result: Stored) -> tuple[bool, str]:
    return not result.smoke, result.result_id


def _weight(result: Stored) -> tuple[bool, bool, bool, bool, str]:
    seen = result.mode != "counted"  # weights alone say less than any run on images
    return (
        result.paper is not None,
        seen,
        not result.smoke,
        result.mode == "evaluated",
        result.result_id,
    )
