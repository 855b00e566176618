"""The README's table and commands are what the project really does."""

from __future__ import annotations

import re
from pathlib import Path

from harness.reports.readme import replaced
from harness.reports.tables import leaderboard
from harness.results import latest, load_all

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_table_equals_the_stored_results() -> None:
    rows = leaderboard(latest(load_all(ROOT / "reports" / "results")).values(), sort="dataset")
    assert rows
    assert README == replaced(README, rows), "regenerate it: bench table --into README.md"


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\(((?!https?:|#)[^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_runs_the_test_command_of_the_readme() -> None:
    [command] = re.findall(r"^    \.venv/bin/(python -m pytest.*)$", README, re.MULTILINE)
    assert command.removeprefix("python") in (ROOT / ".ci" / "run").read_text()
