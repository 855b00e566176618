"""The record: append-only, whole or absent, refused by name when it is not what it should be."""

from __future__ import annotations

import json
import math
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from harness import paths, results
from harness.errors import DamagedFile, MetricError, StateWarning
from harness.registry import Override
from harness.results import current
from tests.support.results import made, trained

pytestmark = pytest.mark.usefixtures("home")


def test_a_result_read_back_equals_the_one_saved() -> None:
    for result in (made(), trained()):
        assert results.load(results.save(result)) == result


def test_overrides_keep_their_type_in_the_file() -> None:
    changes = {
        "length": Override("4ep", "160ep", "command line"),
        "settings.sparsity": Override(0.9, None, "command line"),
        "schedule.milestones": Override([1, 2], [80, 120], "command line"),
    }
    file = results.save(trained(overrides=changes))
    stored = json.loads(file.read_text())["overrides"]["settings.sparsity"]
    assert stored == {"value": 0.9, "was": None, "source": "command line"}
    assert results.load(file).overrides == changes


def test_every_result_on_the_project_s_record_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_RECORD")
    stored = list(results.load_all())
    record = Path(__file__).parents[2] / "reports" / "results"
    assert len(stored) == len(list(record.glob("*/*.json"))) > 50
    changes = [change for result in stored for change in result.overrides.values()]
    assert changes and all(change.source == "command line" for change in changes)
    assert {type(c.value) for c in changes} == {int, float, str}


def test_a_result_lies_below_its_entry_under_its_id(home: Path) -> None:
    path = results.save(made(entry="a-1"), np.zeros(3))
    assert path == home / "reports" / "results" / "a-1" / "20261101T120000Z-00000001.json"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "20261101T120000Z-00000001.json",
        "20261101T120000Z-00000001.npz",
    ]


def test_a_stored_result_is_never_overwritten() -> None:
    path = results.save(made())
    before = path.read_bytes()
    with pytest.raises(MetricError, match="20261101T120000Z-00000001.json exists already"):
        results.save(made(status="mismatch"))
    assert path.read_bytes() == before


def test_a_file_appears_only_when_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    sync = os.fsync

    def while_writing(file: int) -> None:
        seen.append([path.name for path in paths.results_folder().glob("*/*.json")])
        sync(file)

    monkeypatch.setattr(os, "fsync", while_writing)
    results.save(made())
    assert seen == [[]]


def test_an_interrupted_save_leaves_nothing(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def no_space(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        results.save(made())
    assert [p for p in home.rglob("*") if p.is_file()] == []
    assert list(results.load_all()) == []


def test_predictions_are_stored_as_uint16_and_named_by_hash() -> None:
    predictions = np.array([3, 999, 0], np.int64)
    path = results.save(made(), predictions)
    with np.load(path.with_suffix(".npz")) as stored:
        assert stored["predictions"].dtype == np.uint16
        assert stored["predictions"].tolist() == [3, 999, 0]
    # sha256sum of the bytes 03 00 e7 03 00 00
    wanted = "570188dcd1a55922f935695e66a613cfe226a3574bf53186ab145a61f8482660"
    assert results.predictions_sha256(predictions) == wanted


def changed(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"schema_version": 3}, "schema 2: schema_version: unknown value 3"),
        ({"colour": "red"}, "schema 2: colour: unknown key"),
        ({"wall_s": "long"}, "schema 2: wall_s: expected a number, found 'long'"),
        ({"data": {"dataset": "cifar10"}}, "schema 2: data: key 'split' is missing"),
    ],
)
def test_an_unknown_schema_or_field_is_refused_by_file_and_field(
    fields: dict[str, object], told: str
) -> None:
    file = results.save(made(entry="a-1"))
    changed(file, **fields)
    with pytest.raises(DamagedFile) as caught:
        results.load(file)
    assert str(caught.value).startswith("a-1/20261101T120000Z-00000001.json: not a result of ")
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"verdict": 1}', "[" * 100_000, "NaN"])
def test_a_damaged_file_is_named_and_stops_no_other(text: str) -> None:
    results.save(made(entry="a-1")).write_text(text)
    results.save(made(entry="b-1"))
    for read in (lambda: current.verdicts({}), lambda: {r.entry for r in results.load_all()}):
        with pytest.warns(StateWarning, match=r"a-1/20261101T120000Z-00000001\.json"):
            assert {*read()} == {"b-1"}


def test_a_result_in_the_folder_of_another_entry_is_left_out() -> None:
    file = results.save(made(entry="a-1"))
    other = file.parent.with_name("b-1")
    other.mkdir()
    renamed = file.with_name("20270101T120000Z-00000001.json")
    renamed.write_bytes(file.read_bytes())
    (other / file.name).write_bytes(file.read_bytes())
    for read in (lambda: current.verdicts({}), lambda: [r.entry for r in results.load_all()]):
        with pytest.warns(StateWarning) as said:
            assert [*read()] == ["a-1"]
        first, second = (str(each.message) for each in said)
        holds = f"holds result '{file.stem}' of 'a-1'"
        assert first.startswith(f"left out: b-1/{file.name}: {holds}")
        assert second.startswith(f"left out: a-1/{renamed.name}: {holds}")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("counts.n", 0),
        ("counts.top1", -1),
        ("counts.top1", 10**6),
        ("counts.top1", 10**400),
        ("counts.loss_sum", math.inf),
        ("cost.total", 0),
        ("cost.nnz", 10**9),
        ("cost.layers.0.total", 0),
        ("settings.sparsity", math.nan),
        ("settings.sparsity", 10**20),
        ("created", "yesterday"),
        ("batch_size", True),
    ],
)
def test_numbers_that_cannot_be_are_refused_by_place(place: str, value: object) -> None:
    file = results.save(made(entry="a-1"))
    document = json.loads(file.read_text())
    *steps, last = (int(step) if step.isdecimal() else step for step in place.split("."))
    inner = document
    for step in steps:
        inner = inner[step]
    inner[last] = value
    file.write_text(json.dumps(document))
    with pytest.raises(DamagedFile, match="not a result of schema 2"):
        results.load(file)


def test_results_come_oldest_first_and_one_entry_can_be_asked_for() -> None:
    for entry, when in (("b", "20260103T0Z-1"), ("a", "20260102T0Z-1"), ("b", "20260101T0Z-1")):
        results.save(made(entry=entry, when=when))
    assert [r.result_id for r in results.load_all()] == [
        "20260101T0Z-1",
        "20260102T0Z-1",
        "20260103T0Z-1",
    ]
    assert [r.result_id for r in results.load_all(entry="b")] == ["20260101T0Z-1", "20260103T0Z-1"]


def test_ids_sort_by_time_within_a_second_and_differ_at_one_moment() -> None:
    moments = [datetime(2026, 1, 2, 3, 4, 5, us, tzinfo=UTC) for us in range(900, 1100)]
    ids = [results.new_id(moment)[0] for moment in moments]
    assert ids == sorted(ids)  # not left to the random part
    first, created = results.new_id(moments[0])
    assert created == "2026-01-02T03:04:05Z"
    assert first.startswith("20260102T030405000900Z-")
    assert first != ids[0]


def test_no_store_means_no_results() -> None:
    assert list(results.load_all()) == []
    assert current.verdicts({}) == {}


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (k, *strings(v))]
    if isinstance(value, list):
        return [s for v in value for s in strings(v)]
    return [value] if isinstance(value, str) else []


def private(document: object) -> list[str]:
    """Texts that hold an absolute path or the name of this host."""
    return [
        text
        for text in strings(document)
        if text.startswith((os.sep, "~", "file:/")) or socket.gethostname() in text
    ]


def test_the_search_for_private_facts_finds_them() -> None:
    assert private({"a": [{"b": "/home/x"}, socket.gethostname(), "https://x/y"]}) == [
        "/home/x",
        socket.gethostname(),
    ]
