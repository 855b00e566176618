"""docs/design.md names files that exist, and walks that enter no room twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_architecture import FLOORS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "design.md").read_text()
MOST_ROOMS = 8


def walks() -> dict[str, list[str]]:
    """Title of a walk -> the rooms of its numbered steps, one after the other."""
    found: dict[str, list[str]] = {}
    for block in TEXT.partition("## Walks")[2].partition("## One decision")[0].split("\n### ")[1:]:
        title, _, steps = block.partition("\n")
        files = re.findall(r"^\d+\. .*$", steps, re.MULTILINE)
        rooms = []
        for step in files:
            entered = {name.split("/")[1] for name in re.findall(r"`(harness/[^`]+)`", step)}
            assert len(entered) == 1, f"{title}: a step stays in one room: {step}"
            rooms += entered
        found[title] = rooms
    return found


def test_every_file_the_design_names_exists() -> None:
    names = re.findall(r"`((?:harness|methods|tests|docs)/[^`]*|[\w.]+\.(?:py|md|yaml))`", TEXT)
    assert len(names) > 40
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_room_has_its_line_and_they_stand_from_top_to_bottom() -> None:
    told = re.findall(r"^\| `(?:harness/)?(\w+)(?:/|\.py)`", TEXT.partition("## Walks")[0], re.M)
    assert [name for name in told if name in FLOORS] == [r for r in FLOORS if r != "paths"]


@pytest.mark.parametrize("title", walks())
def test_a_walk_enters_no_room_twice(title: str) -> None:
    rooms = walks()[title]
    assert len(rooms) == len(set(rooms)) <= MOST_ROOMS
    assert rooms[0] == "commands"
