"""What the published addresses answered when they were last asked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from harness import paths
from harness.errors import MetricError
from harness.registry import Registry
from harness.system import replace_text

VERSION = 1


Kind = Literal["page", "file"]


@dataclass(frozen=True, slots=True)
class Link:
    """What one address answered. ok: True alive, False dead, None = could not be checked."""

    checked: str  # UTC, ISO 8601
    ok: bool | None
    status: int | None  # HTTP, after redirects
    detail: str


def links_file() -> Path:
    """Where the last answers lie."""
    return paths.reports_folder() / "links.json"


def load_links(path: Path | None = None) -> dict[str, Link]:
    """Address, as the registry spells it -> its last answer; empty if none was ever asked.

    path: None = the answers that ship with the project and, newer, those asked for here.
    Raises MetricError if a file is not what `save_links` wrote.
    """
    places = paths.layers("links.json") if path is None else (path,)
    return {name: link for place in places for name, link in _answers(place).items()}


def _answers(place: Path) -> dict[str, Link]:
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _unreadable(place, str(error)) from error
    try:
        if document["version"] != VERSION:
            raise _unreadable(place, f"version {document['version']!r}, not {VERSION}")
        return {address: Link(**facts) for address, facts in document["links"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(place, f"{type(error).__name__}: {error}") from error


def save_links(answers: Mapping[str, Link], path: Path | None = None) -> Path:
    """Store `answers`, next to older ones of other addresses; the file."""
    place = path or links_file()
    links = {**_answers(place), **answers}
    document = {"version": VERSION, "links": {name: asdict(links[name]) for name in sorted(links)}}
    replace_text(place, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return place


def dead(answers: Mapping[str, Link]) -> list[str]:
    """Addresses that answered, and have nothing."""
    return [address for address, link in answers.items() if link.ok is False]


def entries_with(registry: Registry, wanted: Iterable[str]) -> dict[str, list[str]]:
    """Address -> ids of the entries whose checkpoint lies there."""
    chosen = set(wanted)
    found: dict[str, list[str]] = {}
    for entry in registry.entries.values():
        for source in entry.checkpoint.sources if entry.checkpoint else ():
            if source in chosen:
                found.setdefault(source, []).append(entry.id)
    return found


def _unreadable(path: Path, problem: str) -> MetricError:
    msg = f"{path.name}: not a list of link answers ({problem}). Move it away and ask again"
    return MetricError(f"{msg}: bench registry links")
