"""What is kept of a measurement, and what a damaged or failed one leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.system.progress import Silent
from harness.training.curve_cache import CurveCache
from methods.measurement_store import MeasurementStore

KEY, OTHER = "ab" * 32, "cd" * 32


class Told(Silent):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.done = 0
        self.notes: list[str] = []

    def stage(self, text: str, total: int | None = None) -> None:
        self.stages.append((text, total))
        self.done = 0

    def advance(self, amount: int = 1, **facts: float) -> None:
        self.done += amount

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def cache(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MeasurementStore:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    return CurveCache(told, "distortion curves")


def test_parts_come_back_bit_for_bit_under_their_own_key(cache: MeasurementStore) -> None:
    parts = {
        "layer1.0.conv1": torch.tensor([0.1, 1e-300], dtype=torch.float64),
        "odd/../name %": torch.tensor([3, 4]),
    }
    for name, part in parts.items():
        cache.save(KEY, name, part)
    found = cache.load(KEY)
    assert found.keys() == parts.keys()
    assert all(torch.equal(found[name], part) for name, part in parts.items())
    assert all(found[name].dtype == part.dtype for name, part in parts.items())
    assert cache.load(OTHER) == {}


def test_a_saved_part_replaces_the_one_before(cache: MeasurementStore) -> None:
    cache.save(KEY, "fc", torch.zeros(2))
    cache.save(KEY, "fc", torch.ones(2))
    assert cache.load(KEY)["fc"].tolist() == [1, 1]


def test_everything_lies_below_the_cache_folder(cache: MeasurementStore, tmp_path: Path) -> None:
    cache.save(KEY, "../../fc", torch.zeros(2))
    [file] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.parent.parent == tmp_path / "cache" / "curves"


def test_forgetting_drops_one_key_alone(cache: MeasurementStore) -> None:
    cache.save(KEY, "fc", torch.zeros(2))
    cache.save(OTHER, "fc", torch.zeros(2))
    cache.forget(KEY)
    cache.forget(KEY)
    assert cache.load(KEY) == {}
    assert cache.load(OTHER).keys() == {"fc"}


@pytest.mark.parametrize("bytes_left", [0, 20, 130])
def test_a_damaged_part_is_named_and_measured_again(
    cache: MeasurementStore, told: Told, tmp_path: Path, bytes_left: int
) -> None:
    cache.save(KEY, "fc", torch.zeros(9))
    cache.save(KEY, "conv", torch.zeros(9))
    [file] = tmp_path.rglob("fc.npy")
    file.write_bytes(file.read_bytes()[:bytes_left])
    assert cache.load(KEY).keys() == {"conv"}
    assert len(told.notes) == 1
    assert "fc.npy" in told.notes[0]
    assert not file.exists()


def test_a_bar_begins_with_every_measurement_and_counts_what_is_done(
    cache: MeasurementStore, told: Told
) -> None:
    for done in (3, 7):
        cache.progress(done, 10)
    assert told.stages == [("distortion curves", 10)]
    assert told.done == 7
    cache.progress(2, 10)
    cache.progress(5, 5)
    assert told.stages == [("distortion curves", total) for total in (10, 10, 5)]
    assert told.done == 5
