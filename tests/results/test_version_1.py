"""Results of schema version 1 say in version 2 what they said then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import results
from harness.errors import DamagedFile
from harness.registry import plain
from harness.results import current
from harness.results.version_1 import upgraded
from tests.support.results import made

STORED = sorted((Path(__file__).parents[2] / "reports" / "results").glob("*/*.json"))
FIRST = [file for file in STORED if json.loads(file.read_bytes())["schema_version"] == 1]
# All of 2026-11-29: better than the printed 1.7 % error, which version 1 called "not reached".
BETTER = {"dense-lenet300-mnist-snip": "1.7"}


def document(**fields: Any) -> dict[str, Any]:
    """A version 1 document as the code of then wrote it."""
    new = plain(made())
    assert isinstance(new, dict)
    new["data"]["n"] = new["counts"]["n"]
    return {**new, "schema_version": 1, "overrides": {}, **fields}


def stored(tmp_path: Path, **fields: Any) -> Path:
    file = tmp_path / "a-1" / "20261101T120000Z-00000001.json"
    file.parent.mkdir()
    file.write_text(json.dumps(document(**fields), indent=1))
    return file


def test_there_are_files_of_the_first_version() -> None:
    assert len(FIRST) >= 61


@pytest.mark.parametrize("file", FIRST, ids=lambda file: file.stem)
def test_every_stored_file_says_the_same_as_before(file: Path) -> None:
    old, new = json.loads(file.read_bytes()), results.load(file)
    assert new.schema_version == 2
    assert (new.result_id, new.entry, new.mode, new.smoke) == (
        file.stem,
        file.parent.name,
        old["mode"],
        old["smoke"],
    )
    images, counts = new.seen
    assert counts.n == old["data"].pop("n")
    assert plain(images) == old["data"] and plain(counts) == old["counts"]
    assert [layer.nnz for layer in new.cost.layers] == [row["nnz"] for row in old["cost"]["layers"]]
    changes = {key: f"{c.value} (was {c.was}, {c.source})" for key, c in new.overrides.items()}
    assert changes == old["overrides"]
    if file.parent.name not in BETTER:
        assert plain(new.metrics) == old["metrics"] and plain(new.verdict) == old["verdict"]
    assert results.load(file, layers=False).metrics == new.metrics


def test_what_version_1_called_not_reached_though_it_was_better() -> None:
    changed = {
        file.parent.name: new.metrics["top1_error_pct"].published
        for file in FIRST
        if plain((new := results.load(file)).verdict) != json.loads(file.read_bytes())["verdict"]
    }
    assert changed == BETTER
    assert current.verdicts({}, STORED[0].parents[1])["dense-lenet300-mnist-snip"] == "reached"


def test_changes_of_a_recipe_are_values_again(tmp_path: Path) -> None:
    texts = {
        "length": "4ep (was 160ep, command line)",
        "settings.s_init": "-8 (was None, command line)",
        "schedule.milestones": "[30, 60] (was [80, 120], file)",
        "augmentation.flip": "True (was False, command line)",
        "optimizer.lr": "0.05 (was 0.1, command line)",
    }
    found = results.load(stored(tmp_path, overrides=texts)).overrides
    assert [(key, c.value, c.was) for key, c in found.items()] == [
        ("length", "4ep", "160ep"),
        ("settings.s_init", -8, None),
        ("schedule.milestones", [30, 60], [80, 120]),
        ("augmentation.flip", True, False),
        ("optimizer.lr", 0.05, 0.1),
    ]
    assert found["schedule.milestones"].source == "file"


@given(
    st.floats(0, 1) | st.integers(0, 10**6) | st.booleans() | st.none() | st.just("160ep"),
    st.none() | st.sampled_from(["40ep", "epoch", 5, 0.9, True]),
)
def test_any_value_is_read_from_its_text(value: object, was: object) -> None:
    new = upgraded(document(overrides={"key": f"{value} (was {was}, command line)"}))
    assert new["overrides"] == {"key": {"value": value, "was": was, "source": "command line"}}


def test_times_keep_their_medians_and_have_no_quartiles(tmp_path: Path) -> None:
    latency = {
        "ms": {"dense": {"p50": 2.0, "p90": 3.0, "iqr": 0.5}},
        "layers": [],
        "batch": 1,
        "repeats": 100,
        "warmup": 5,
        "device": "cpu",
        "threads": 1,
    }
    found = results.load(stored(tmp_path, latency=latency)).latency
    assert found is not None
    times = found.ms["dense"]
    assert (times.n, times.p50, times.p90, times.iqr) == (100, 2.0, 3.0, None)


@pytest.mark.parametrize(
    ("figure", "delta", "reason", "status"),
    [
        ("top1_error_pct", -0.34, "Δ = -0.34", "reached"),
        ("top1_error_pct", 0.54, "Δ = +0.54", "not reached"),
        ("top1_pct", 0.5, "Δ = +0.50", "reached"),
        ("activations_pct", -9.0, "Δ = -9.00", "not reached"),
        ("gain_over_dense_pp", 0.9, "at most 0.35: Δ = +0.55", "not reached"),
    ],
)
def test_better_than_printed_is_reached(
    figure: str, delta: float, reason: str, status: str
) -> None:
    comparison = {"status": "not reached", "published": "1.7", "delta": delta, "reason": reason}
    verdict = {"status": "not reached", "reason": reason}
    new = upgraded(document(metrics={figure: comparison}, verdict=verdict))
    assert new["metrics"][figure]["status"] == new["verdict"]["status"] == status


@pytest.mark.parametrize("fields", [{"data": 3}, {"overrides": {"length": "4ep"}}, {"verdict": {}}])
def test_a_damaged_document_is_named(tmp_path: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(DamagedFile, match=r"a-1/20261101T120000Z-00000001\.json"):
        results.load(stored(tmp_path, **fields))
