"""Results measured here, put on the record of a clone: moved whole, once, with their decision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness import paths, results
from harness.errors import DataError, MetricError, ProtocolError
from harness.maintenance import accepted, put_on_record
from harness.reports.table.row_cache import stored_rows
from tests.support.results import made

OLD, NEW = "20260101T000000000000Z-00000001", "20260102T000000000000Z-00000002"


@pytest.fixture
def record(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_RECORD", str(tmp_path / "record"))
    return tmp_path / "record"


def test_the_result_that_counts_moves_with_its_answers(record: Path, home: Path) -> None:
    results.save(made("a-1", OLD), np.zeros(3))
    results.save(made("a-1", NEW), np.ones(3))
    moved = put_on_record("a-1", {}).files
    assert [file.relative_to(record).as_posix() for file in moved] == [
        f"results/a-1/{NEW}.npz",
        f"results/a-1/{NEW}.json",
    ]
    own = sorted(file.name for file in (home / "reports" / "results" / "a-1").iterdir())
    assert own == [f"{OLD}.json", f"{OLD}.npz"]
    assert [r.result_id for r in results.load_all()] == [OLD, NEW]


def test_one_result_is_named_by_its_id(record: Path) -> None:
    results.save(made("a-1", OLD))
    results.save(made("a-1", NEW))
    [file] = put_on_record(OLD, {}).files
    assert file.stem == OLD


def test_a_former_id_is_followed(record: Path) -> None:
    results.save(made("old-1", OLD))
    assert put_on_record("new-1", {"old-1": "new-1"}).files


def test_a_decision_goes_along(record: Path) -> None:
    results.save(made("a-1", OLD))
    decision = accepted.accept("a-1", "the resize was off by one pixel")
    assert put_on_record("a-1", {}).decision == decision
    [line] = (record / "accepted.jsonl").read_text().splitlines()
    assert json.loads(line)["result_id"] == OLD
    assert accepted.decisions()["a-1"] == decision


def test_what_is_on_record_stays_as_it_is(record: Path) -> None:
    results.save(made("a-1", OLD, measured=10.0))
    put_on_record("a-1", {})
    before = (record / "results" / "a-1" / f"{OLD}.json").read_bytes()
    own = results.save(made("a-1", OLD, measured=20.0))
    with pytest.raises(MetricError, match="exists already"):
        put_on_record("a-1", {})
    assert own.is_file()
    assert (record / "results" / "a-1" / f"{OLD}.json").read_bytes() == before
    assert [row.result_id for row in stored_rows()] == [OLD]  # in both folders, shown once
    assert [r.counts.top1_pct for r in results.load_all()] == [10.0]


def test_nothing_measured_here_says_what_to_type(record: Path) -> None:
    with pytest.raises(DataError, match="Measure it first: bench reproduce a-1"):
        put_on_record("a-1", {})


def test_only_a_clone_has_a_record_to_write(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_CLONE", record)
    with pytest.raises(ProtocolError, match="this is no clone"):
        put_on_record("a-1", {})


def test_results_on_record_lie_under_every_home(record: Path, home: Path) -> None:
    folder = record / "results"
    results.save(made("shipped-1", OLD), folder=folder)
    results.save(made("mine-1", NEW))
    assert [row.entry for row in stored_rows()] == ["shipped-1", "mine-1"]
    assert [row.entry for row in stored_rows(folder)] == ["shipped-1"]
    assert results.file_of("shipped-1", OLD).is_relative_to(record)
    assert results.file_of("mine-1", NEW).is_relative_to(home)
