"""The README's table and commands are what the project really does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness import registry
from harness.reports.readme import replaced
from harness.reports.table.columns import chosen_columns, shown_columns
from harness.reports.table.formats import render_leaderboard
from harness.reports.table.leaderboard import Wanted, leaderboard
from harness.reports.table.rows import Row, row
from harness.results import STATUSES
from harness.results.store import load

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
ALL = (ROOT / "reports" / "results.md").read_text()
PAPERS = ("akamaster", "filter-pruning-resnet20", "woodfisher", "cnn-pruning-cifar10")
COLUMNS = ("published", "evaluated", "delta", "sparsity", "verdict", "n", "date")


def committed_rows() -> list[Row]:
    """The project's results that saw images; a user's own runs in the same clone do not count."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--", "reports/results/*.json"]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    results = [load(file) for file in sorted(files, key=lambda file: file.name)]
    return [row(result) for result in results if result.counts is not None]


def test_table_equals_the_committed_results_of_published_files() -> None:
    wanted = Wanted(paper=PAPERS)
    rows = leaderboard(committed_rows(), registry.load(), wanted, sort="verdict")
    assert len(rows) > 10
    command = f"bench table --paper {','.join(PAPERS)} --columns {','.join(COLUMNS)} --sort verdict"
    assert README == replaced(README, rows, chosen_columns(COLUMNS)), f"{command} --into README.md"
    assert command in (ROOT / "CONTRIBUTING.md").read_text()


def test_the_page_of_all_results_holds_every_committed_one() -> None:
    rows = leaderboard(committed_rows(), registry.load(), sort="dataset")
    assert ALL == replaced(ALL, rows, records="results"), "bench table --into reports/results.md"


def test_the_table_of_one_data_set_shows_the_numbers_of_all_results() -> None:
    rows = leaderboard(committed_rows(), registry.load(), Wanted(dataset=("cifar10",)))
    columns = shown_columns(committed_rows())  # of several data sets, named in each row
    table = render_leaderboard(rows, "markdown", columns).splitlines()
    held = [line for line in table if line.startswith("| ")][2:]
    assert len(held) > 20
    for line, shown in zip(held, rows, strict=True):
        [there] = [x for x in ALL.splitlines() if f"{shown.result_id}.json" in x]
        assert re.sub(r" \[\d+\]", "", line).split(" | ")[1:] == there.split(" | ")[1:]


@pytest.mark.parametrize("page", ["README.md", "reports/results.md", "CONTRIBUTING.md"])
def test_every_linked_file_exists(page: str) -> None:
    file = ROOT / page
    links = re.findall(r"\]\(((?!https?:|#)[^)]+)\)", file.read_text())
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_ci_runs_the_test_command_of_the_readme() -> None:
    [command] = re.findall(r"^    \.venv/bin/(python -m pytest.*)$", README, re.MULTILINE)
    assert command.removeprefix("python") in (ROOT / ".ci" / "run").read_text()


def test_the_contradicted_rows_come_first() -> None:
    table = README[README.index("<!-- results:begin -->") : README.index("<!-- results:end -->")]
    verdicts = re.findall(r"\| ([a-z ]+?)(?: \([a-z]+\))? \| 10,000 \|", table)
    assert verdicts == sorted(verdicts, key=STATUSES.index, reverse=True)
    assert verdicts[0] == "claim contradicted" and len(verdicts) > 10


def test_the_readme_fits_a_few_screens() -> None:
    assert len(README.splitlines()) <= 145
