"""The public Python API: its list, its tables, and the page that shows all of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import results
from harness.errors import ProtocolError
from harness.reports import Row
from tests.support.results import made, trained

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = "load reproduce train prune evaluate profile stored_results leaderboard sparse"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_public_names_are_the_documented_ones() -> None:
    assert sorted(harness.__all__) == sorted(PUBLIC.split())
    page, readme = (ROOT / "docs" / "python.md").read_text(), (ROOT / "README.md").read_text()
    for name in harness.__all__:
        assert getattr(harness, name) is not None
        assert f"harness.{name}" in page, name
        assert f"`{name}`" in readme, name


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_examples_run_as_they_stand(page: str, home: Path, tmp_path: Path) -> None:
    code = "\n".join(BLOCK.findall((ROOT / page).read_text()))
    assert "harness." in code
    file = tmp_path / "notebook.py"
    file.write_text(code)
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(home.glob("reports/results/*/*.json"))) == (1 if page == "README.md" else 5)


@pytest.fixture
def stored(home: Path) -> None:
    results.save(made("str-a-90", when="20260101T0Z-1", measured=90.0))
    results.save(made("str-a-90", when="20260102T0Z-1", measured=91.74))
    results.save(trained(method="gmp"))
    results.save(made("dense-b", when="20260103T0Z-1", method="dense", dataset="cifar100"))


@pytest.mark.usefixtures("stored")
def test_every_stored_result_is_a_line_with_unrounded_numbers() -> None:
    frame = harness.stored_results()
    assert list(frame.columns) == list(Row.__dataclass_fields__)
    assert frame["result_id"].tolist() == sorted(frame["result_id"])
    assert len(frame) == 4
    first = frame[frame["entry"] == "str-a-90"].iloc[0]
    assert (first["evaluated_top1_pct"], first["published_top1_pct"]) == (90.0, "91.73")
    assert first["sparsity_pct"] == 75.0


@pytest.mark.usefixtures("stored")
def test_the_leaderboard_is_that_of_bench_table() -> None:
    assert harness.leaderboard()["entry"].tolist() == ["dense-b", "local-gmp", "str-a-90"]
    newest = harness.leaderboard(dataset="cifar10", method=["str", "acdc"])
    assert newest["evaluated_top1_pct"].tolist() == [91.74]
    assert harness.leaderboard(sort="top1", limit=1)["entry"].tolist() == ["dense-b"]


def test_no_result_is_an_empty_table_with_the_same_columns(home: Path) -> None:
    assert harness.stored_results().empty
    assert list(harness.leaderboard().columns) == list(Row.__dataclass_fields__)


def test_a_network_in_memory_is_refused_an_entrys_name(home: Path) -> None:
    with pytest.raises(ProtocolError, match="is an entry of the registry"):
        harness.evaluate(
            harness.load("dense-convnet-tiny-digits"), "digits", name="dense-resnet20-cifar10"
        )


def test_a_published_network_evaluated_in_memory_gives_its_counts(home: Path) -> None:
    network = harness.load("dense-convnet-tiny-digits")
    own = harness.evaluate(network, "digits")
    entry = harness.reproduce("dense-convnet-tiny-digits")
    assert own.counts == entry.counts and own.data == entry.data
    assert (own.entry, own.paper, own.method) == ("local-convnettiny-digits", None, "dense")
    assert own.checkpoint is not None and own.checkpoint.source == "memory"
