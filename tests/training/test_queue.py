"""A queue of trainings: killed and typed again it repeats nothing and ends with the same bits."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import RegistryError
from harness.registry import load
from harness.training import training_cost
from tests.support.runs import Command

REGISTRY = load()
ROWS = ("dense-convnet-tiny-digits", "str-convnet-tiny-digits-90")
FIRST, SECOND = ROWS


@pytest.fixture
def queue(tmp_path: Path) -> list[str]:
    """The arguments of a queue of two rows, two epochs each."""
    file = tmp_path / "queue.yaml"
    file.write_text(f"version: 1\nqueues:\n  evening: [{', '.join(ROWS)}]\n")
    given = ["--registry", str(file), "--set", "epochs=2", "--no-tracking"]
    return ["reproduce", "--suite", "evening", *given]


def finished(home: Path) -> dict[str, bytes]:
    return {
        file.parent.parent.name: file.read_bytes()
        for file in sorted(home.glob("runs/*/*/weights.safetensors"))
        if (file.parent / "done.json").exists()
    }


def results(home: Path) -> list[str]:
    return sorted(str(file.relative_to(home)) for file in home.glob("**/results/*/*.json"))


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_same_bits_and_repeats_nothing(
    tmp_path: Path, queue: list[str]
) -> None:
    whole = Command(tmp_path / "whole", queue).start()
    home = tmp_path / "killed"
    Command(home, queue, save_every_s=0.0, strike=(20, signal.SIGKILL)).run(-signal.SIGKILL)
    assert not finished(home)
    # 27 states of the first row, its weights, predictions and proof, and the result: the second
    # kill comes while the other row is at work.
    log = Command(home, queue, save_every_s=0.0, strike=(50, signal.SIGKILL)).run(-signal.SIGKILL)
    assert "resumed at step" in log
    assert f"2/2 {SECOND}: " in log
    assert set(finished(home)) == {FIRST}
    kept = results(home)
    assert len(kept) == 1
    last = Command(home, queue).run()
    assert f"1/2 {FIRST}: smoke, on record since" in last
    assert f"2/2 {SECOND}: 2,866 training images" in last
    assert "resumed at step" in last
    whole.finish()
    assert finished(home) == finished(tmp_path / "whole")
    assert set(finished(home)) == set(ROWS)
    before = results(home)
    assert len(before) == 2
    assert kept[0] in before
    again = Command(home, queue).run()
    assert "2 of 2 are on record already" in again
    assert "epoch" not in again
    assert results(home) == before


def test_asked_to_stop_it_says_what_comes_next(tmp_path: Path, queue: list[str]) -> None:
    home = tmp_path / "stopped"
    log = Command(home, queue, save_every_s=0.0, strike=(30, signal.SIGTERM)).run(5)
    assert f"next time: {FIRST} goes on; after it {SECOND}" in log
    assert "SIGTERM: saved at step 30 of 46. The same command continues" in log


def test_a_time_limit_stops_it_with_everything_saved(tmp_path: Path, queue: list[str]) -> None:
    home = tmp_path / "timed"
    hours = str(0.5 / 3600)  # far less than 4000 epochs take
    long = [*queue[:-2], "epochs=4000", "--no-tracking", "--max-hours", hours]
    log = Command(home, long).run(5)
    assert f"next time: {FIRST} goes on" in log
    assert not finished(home)


def test_evaluating_its_rows_is_possible_too(tmp_path: Path, queue: list[str]) -> None:
    arguments = [*queue[:5], "--mode", "eval", "--no-tracking", "--json"]
    arguments = [part for part in arguments if part not in ("--set", "epochs=2")]
    log = Command(tmp_path / "home", arguments).run()
    shown = json.loads(log[log.index("[") :])
    assert [result["mode"] for result in shown] == ["evaluated", "evaluated"]


def test_cost_counts_every_image_and_round() -> None:
    entry = REGISTRY.get("dense-resnet20-cifar10")
    cost = training_cost(entry, REGISTRY, REGISTRY.recipes[entry.recipe or ""], 2)
    assert cost.images == 2 * 200 * 50_000
    assert cost.macs == 3 * cost.images * 40_551_040  # the mask of nothing is everything
    assert cost.hours is None  # nothing on record here to go by
    pruned = REGISTRY.get("rd-resnet32-cifar10-95.5")
    recipe = REGISTRY.recipes[pruned.recipe or ""]
    assert training_cost(pruned, REGISTRY, recipe, 1).images == 14 * 80_000 * 100
    held_back = REGISTRY.recipes["ipruning-dense-cifar-200ep"]  # a tenth, and the last batch
    assert training_cost(entry, REGISTRY, replace(held_back), 1).images == 200 * 45_000


def test_the_week_begins_with_the_smallest_resnet_and_then_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BENCH_RECORD", str(Path(__file__).parents[2] / "reports"))
    rows = REGISTRY.suite("cpu-week")
    costs = [
        training_cost(entry, REGISTRY, REGISTRY.recipes[entry.recipe or ""], 1) for entry in rows
    ]
    assert rows[0].id == "dense-resnet20-cifar10"
    macs = [cost.macs for cost in costs[1:]]
    assert macs == sorted(macs)
    hours = [cost.hours or 0.0 for cost in costs]
    assert min(hours) > 1.0  # of one core
    assert sum(hours) < 7 * 24


def test_a_row_without_a_recipe_cannot_wait_for_its_training(tmp_path: Path) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text("version: 1\nqueues:\n  never: [dense-resnet8-cifar10-mlperf-tiny]\n")
    with pytest.raises(RegistryError, match=r"queue.yaml:3:\d+.* has no recipe"):
        load(extra=[file])


def test_the_timer_is_gone_after_a_training_that_was_in_time(tmp_path: Path) -> None:
    from harness.training import time_limit

    before = signal.getsignal(signal.SIGTERM)
    with time_limit(1.0):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
