"""`bench report`: the site from the command line."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.commands.conftest import Bench, document


@pytest.fixture(autouse=True)
def library(home: Path) -> None:
    """A stand-in for the chart library, which takes seconds to bundle."""
    kept = home / "cache" / "site" / f"vega-{version('vl-convert-python')}.js"
    kept.parent.mkdir(parents=True)
    kept.write_text("")


def test_the_site_is_written_and_replaced_as_a_whole(bench: Bench, tmp_path: Path) -> None:
    out = tmp_path / "site"
    done = bench("report", "--out", out)
    assert done.exit_code == 0
    assert "0 reproduced, 0 contradicted" in done.stdout
    (out / "stale.html").write_text("")
    found = document(bench("report", "--out", out, "--json"))
    assert found["pages"] == len(list(out.rglob("*.html")))
    assert not (out / "stale.html").exists()


def test_a_foreign_folder_is_a_usage_error(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    done = bench("report", "--out", tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Give another folder" in done.stderr
    assert (tmp_path / "mine.txt").exists()
