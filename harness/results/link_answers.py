"""What the published addresses answered when they were last asked."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from harness import paths
from harness.errors import StateWarning
from harness.registry import Registry, from_mapping
from harness.system import read_json, replace_text

VERSION: Literal[1] = 1


Kind = Literal["page", "file"]


@dataclass(frozen=True, slots=True)
class Link:
    """What one address answered. ok: True alive, False dead, None = could not be checked."""

    checked: str  # UTC, ISO 8601
    ok: bool | None
    status: int | None  # HTTP, after redirects
    detail: str


@dataclass(frozen=True, slots=True)
class _Answers:
    """The file."""

    version: Literal[1]
    links: Mapping[str, Link]


def links_file() -> Path:
    """Where the last answers lie."""
    return paths.reports_folder() / "links.json"


def load_links(path: Path | None = None) -> dict[str, Link]:
    """Address, as the registry spells it -> its last answer; empty if none was ever asked.

    path: None = the answers that ship with the project and, newer, those asked for here.
    A file that is not what `save_links` wrote is named in a StateWarning and left out.
    """
    places = paths.layers("links.json") if path is None else (path,)
    return {name: link for place in places for name, link in _answers(place).items()}


def _answers(place: Path) -> dict[str, Link]:
    try:
        return dict(from_mapping(_Answers, read_json(place.read_bytes())).links)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # a Fault is a ValueError
        msg = f"left out: {place.name}: not a list of link answers ({error})"
        warnings.warn(f"{msg}. Ask again: bench registry links", StateWarning, stacklevel=2)
        return {}


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
