"""One file of a home damaged after the other, each time before a verb that reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import paths
from harness.reports.table import row_cache
from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.fuzzed_commands import small_registry
from tests.support import damaged_home
from tests.support.command_line import disorder, typed

WORTH_COMMANDS = 100  # tries from which on the home is one that commands made, which takes seconds
NO_PLACE = 1  # a folder where a file has to be written: said like a full disk
MOST_PROBLEMS = 3  # lines
Words = list[Any]


@campaign(count=600, sample=12)
def damaged_homes(trial: Trial) -> Iterator[str]:
    """A file of a home emptied, cut off, overwritten, of other content, missing or a folder, then
    a verb that reads it: a documented exit code, nothing unprintable, and what is wrong is named.
    """
    home, whole = trial.folder / "home", trial.folder / "whole"
    registry = trial.folder / "registry.yaml"
    registry.write_text(json.dumps(small_registry()))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(paths, "registry_file", lambda: registry)
        patched.setenv("BENCH_HOME", str(home))
        patched.setenv("BENCH_RECORD", str(trial.folder / "record"))
        patched.setattr(row_cache, "WORTH_KEEPING", 0)
        by_hand = trial.count < WORTH_COMMANDS
        (damaged_home.fill_by_hand if by_hand else damaged_home.fill)(home)
        damaged_home.copy_of(home, whole)
        files = [file.relative_to(whole) for file in sorted(whole.rglob("*")) if file.is_file()]
        calm: dict[str, tuple[int, list[str]]] = {}
        for _ in range(trial.count):
            file = home / trial.rng.choice(files)
            verbs = damaged_home.QUICK if by_hand else damaged_home.readers(home, file)
            verb = trial.rng.choice(verbs)
            if str(verb) not in calm:
                damaged_home.copy_of(whole, home)
                calm[str(verb)] = _outcome(verb)[1:]
            damaged_home.copy_of(whole, home)
            kind = trial.rng.choice(damaged_home.kinds_of(file))
            damaged_home.damage(file, kind, trial.rng)
            told = _wrong(verb, file, kind, calm[str(verb)])
            yield told and f"{file.relative_to(home)}, {kind}, bench {verb}: {told}"


def _wrong(verb: Words, file: Path, kind: str, calm: tuple[int, list[str]]) -> str:
    """What is wrong with the way in which a verb met a damaged file; "" if nothing is."""
    told, code, problems = _outcome(verb)
    if told:
        return told
    if code == NO_PLACE and kind != "folder":
        return f"exit code {code}: {problems}"
    if len(problems) > MOST_PROBLEMS:
        return f"{len(problems)} lines: {problems}"
    if (code, problems) != calm and code in (2, 4) and kind not in ("missing", "folder"):
        named = any(file.name in line or file.stem in line for line in problems)
        return "" if named else f"the file is not named: {problems}"
    return ""


def _outcome(verb: Words) -> tuple[str, int, list[str]]:
    """(disorder, exit code, problems) of a command."""
    done = typed(*verb)
    problems = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    return disorder(done), done.exit_code, problems
