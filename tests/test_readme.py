"""The README's table and commands are what the project really does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import registry
from harness.reports.readme import replaced
from harness.reports.table.columns import chosen_columns, shown_columns
from harness.reports.table.formats import render_leaderboard
from harness.reports.table.leaderboard import Wanted, leaderboard
from harness.reports.table.rows import Row, row
from harness.results.store import load
from methods.base import Schedule

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
ALL = (ROOT / "reports" / "results.md").read_text()
PAPERS = ("akamaster", "filter-pruning-resnet20", "woodfisher", "cnn-pruning-cifar10")
COLUMNS = ("published", "evaluated", "delta", "sparsity", "verdict", "n", "date")


def committed_rows() -> list[Row]:
    """The results that belong to the project; a user's own runs in the same clone do not count."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--", "reports/results/*.json"]
    done = subprocess.run(listing, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    return [row(load(file)) for file in sorted(files, key=lambda file: file.name)]


def test_table_equals_the_committed_results_of_published_files() -> None:
    wanted = Wanted(paper=PAPERS)
    rows = leaderboard(committed_rows(), registry.load(), wanted, sort="dataset")
    assert len(rows) > 10
    command = f"bench table --paper {','.join(PAPERS)} --columns {','.join(COLUMNS)}"
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


def _block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    [block] = [b for b in blocks if containing in b]
    return block


def test_the_example_entry_is_a_valid_registry(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(_block("yaml", "families:"))
    assert registry.load(extra=[file]).get("mine-resnet20-cifar10-90").published


def test_the_example_method_prunes_to_its_sparsity() -> None:
    namespace: dict[str, Any] = {}
    code = compile(_block("python", "class LeastMoved"), "README.md", "exec", dont_inherit=True)
    exec(code, namespace)
    kind = namespace["LeastMoved"]
    torch.manual_seed(0)
    model = torch.nn.Linear(20, 10, bias=False)
    method = kind(kind.Settings())
    method.attach(model, Schedule(epochs=2, steps_per_epoch=1))
    moved = torch.rand(10, 20)
    with torch.no_grad():
        model.weight += moved
    method.begin_epoch(0)
    method.begin_epoch(1)
    kept = model.weight != 0
    assert int(kept.sum()) == 20  # 10 % of 200
    assert moved[kept].min() > moved[~kept].max()
