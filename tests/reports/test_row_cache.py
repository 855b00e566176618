"""Rows of a large store are kept, and never outlive what they were made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import results
from harness.errors import StateWarning
from harness.reports.table import row_cache as index
from harness.reports.table.rows import row
from tests.support.results import made, trained


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    monkeypatch.setattr(index, "WORTH_KEEPING", 2)
    return tmp_path


@pytest.fixture
def files() -> list[Path]:
    found = (
        made("b", "20260101T0Z-1"),
        trained(entry="a", when="20260102T0Z-1"),
        made("c", "20260103T0Z-1"),
    )
    return [results.save(result) for result in found]


def test_rows_equal_those_of_the_results_oldest_first(files: list[Path]) -> None:
    expected = [row(results.load(file)) for file in files]
    assert index.stored_rows() == expected
    assert index.stored_rows() == expected  # from the cache


def test_a_kept_row_is_not_read_again(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = index.stored_rows()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(index, "load_stored", refuse)
    assert index.stored_rows() == before


def test_new_changed_and_removed_files_are_noticed(files: list[Path]) -> None:
    index.stored_rows()
    results.save(made("d", "20260104T0Z-1"))
    files[0].write_text(files[0].read_text().replace('"measured": 91.74', '"measured": 12.0'))
    files[1].unlink()
    shown = index.stored_rows()
    assert [(r.entry, r.evaluated_top1_pct) for r in shown] == [
        ("b", 12.0),
        ("c", 91.74),
        ("d", 91.74),
    ]


@pytest.mark.parametrize("damage", ["", "{", '["other", {}]', "[]", "{}", "1"])
def test_a_damaged_cache_costs_nothing_but_time(files: list[Path], home: Path, damage: str) -> None:
    before = index.stored_rows()
    (home / "cache" / "rows.json").write_text(damage)
    with pytest.warns(StateWarning, match=r"rows\.json cannot be used"):
        assert index.stored_rows() == before
    assert index.stored_rows() == before  # made anew


def test_a_changed_digit_in_the_cache_is_not_believed(files: list[Path], home: Path) -> None:
    before = index.stored_rows()
    cache = home / "cache" / "rows.json"
    cache.write_bytes(cache.read_bytes().replace(b"91.74", b"99.99"))
    with pytest.warns(StateWarning, match=r"rows\.json cannot be used"):
        assert index.stored_rows() == before


def test_a_small_store_leaves_no_cache(home: Path) -> None:
    results.save(made())
    assert len(index.stored_rows()) == 1
    assert not (home / "cache").exists()


def test_a_home_without_results_has_no_rows() -> None:
    assert index.stored_rows() == []


def test_a_file_that_is_no_result_is_named(files: list[Path]) -> None:
    files[0].write_text("{}")
    with pytest.warns(StateWarning, match=f"left out: b/{files[0].name}.*not a result"):
        assert len(index.stored_rows()) == len(files) - 1


def test_a_result_without_layers_differs_in_nothing_else(files: list[Path]) -> None:
    for file in files:
        whole = results.load(file)
        assert whole.cost.layers
        cost = replace(whole.cost, layers=())
        assert results.load(file, layers=False) == replace(whole, cost=cost)


def test_a_file_in_another_layout_is_read_whole(files: list[Path]) -> None:
    import json

    document = json.loads(files[0].read_text())
    for indent in (None, 0, 2, 4):
        files[0].write_text(json.dumps(document, indent=indent))
        assert results.load(files[0], layers=False).entry == "b"
        assert row(results.load(files[0], layers=False)) == row(results.load(files[0]))
