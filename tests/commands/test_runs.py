"""bench runs: every run as it stands, taken up, left out, deleted; suites on executors."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from harness import paths
from harness.errors import ProtocolError
from harness.launch import QueueFolder, all_runs, cancel, find_run
from harness.results import load_all
from harness.training import lock_of
from tests.commands.conftest import Bench, document
from tests.launch.trainings import run, trainings, weights
from tests.support.runs import Command

TRAIN = ["train", "--method", "gmp", "--model", "convnet_tiny", "--dataset", "digits"]
TRAIN += ["--no-tracking", "--set", "settings.sparsity=0.9", "--set", "epochs=3"]
FOLDER = "local-gmp-convnet-tiny-digits-0.9"


@pytest.fixture
def stopped(tmp_path: Path, home: Path) -> Path:
    """A home with a run that a signal stopped in its middle."""
    home.parent.mkdir(exist_ok=True)
    strike = (10, signal.SIGTERM)
    Command(home, TRAIN, save_every_s=0.0, strike=strike).run(5)
    return home


def test_a_stopped_run_is_listed_and_taken_up_to_the_bits_of_a_whole_one(
    bench: Bench, stopped: Path, tmp_path: Path
) -> None:
    (row,) = document(bench("runs", "--json"))
    assert row["state"] == "preempted" and row["entry"] == FOLDER and row["seed"] == 0
    assert 0 <= row["progress_pct"] < 100
    shown = document(bench("runs", "show", row["id"], "--json"))
    assert shown["method"] == "gmp" and shown["changes"]["settings.sparsity"] == 0.9
    done = bench("runs", "resume", row["id"], "--executor", "inline", "--no-tracking")
    assert done.exit_code == 0, done.stderr
    (row,) = document(bench("runs", "--json"))
    (result,) = load_all()
    assert row["state"] == "done" and row["progress_pct"] == 100.0
    assert row["top1_pct"] == 100 * result.runs[0].counts.top1 / result.runs[0].counts.n
    whole = Command(tmp_path / "whole", TRAIN)
    whole.run()
    assert list(weights(stopped).values()) == [whole.final_bytes()]
    again = bench("runs", "resume", row["id"], "--executor", "inline", "--no-tracking")
    assert again.exit_code == 2 and "is done" in again.stderr


def test_runs_of_before_are_listed_and_say_how_they_go_on(bench: Bench, stopped: Path) -> None:
    for name in ("run.json", "progress.json"):
        (file,) = stopped.glob(f"runs/*/*/{name}")
        file.unlink()
    (row,) = document(bench("runs", "--json"))
    assert row["state"] == "preempted" and row["progress_pct"] is None
    refused = bench("runs", "resume", row["id"], "--no-tracking")
    assert refused.exit_code == 2
    assert "Repeat the command that began it" in refused.stderr
    assert bench("runs").stdout.count(FOLDER) == 1


def test_a_run_at_work_is_seen_stopped_and_not_deleted(bench: Bench, home: Path) -> None:
    home.parent.mkdir(exist_ok=True)
    command = Command(home, [*TRAIN, "--set", "epochs=400"]).start()
    end = time.monotonic() + 120
    while not list(home.glob("runs/*/*/state.pt")) and time.monotonic() < end:
        time.sleep(0.02)
    (row,) = document(bench("runs", "--state", "running", "--json"))
    assert str(command.process.pid) in row["place"]
    refused = bench("runs", "delete", row["id"])
    assert refused.exit_code == 2 and "Stop it first" in refused.stderr
    assert bench("runs", "cancel", row["id"]).exit_code == 0
    command.finish(5)
    assert find_run(row["id"]).state == "preempted"
    again = bench("runs", "cancel", row["id"])
    assert again.exit_code == 2 and "there is nothing to stop" in again.stderr


def test_only_long_untouched_leftovers_are_pruned(bench: Bench, stopped: Path) -> None:
    (row,) = document(bench("runs", "--json"))
    assert document(bench("runs", "prune", "--json"))["runs"] == []
    old = time.time() - 40 * 86400
    progress = json.loads((paths.runs_folder() / row["id"] / "progress.json").read_text())
    changed = json.dumps(progress | {"updated": old})
    (paths.runs_folder() / row["id"] / "progress.json").write_text(changed)
    would = document(bench("runs", "prune", "--dry-run", "--json"))
    assert would == {
        "runs": [row["id"]],
        "bytes": row["bytes"] + len(changed) - len(json.dumps(progress)),
        "deleted": False,
    }
    assert bench("runs", "prune").exit_code == 0
    assert all_runs() == [] and not (paths.runs_folder() / row["id"]).exists()


def test_a_waiting_job_is_listed_and_can_be_left_out(home: Path) -> None:
    jobs = trainings(epochs=1)
    queue = QueueFolder("sweep-one")
    with queue.opened(jobs, {"kind": "sweep"}):
        waiting = all_runs()
        assert [(r.state, r.seed, r.queue) for r in waiting] == [
            ("queued", 0, "sweep-one"),
            ("queued", 1, "sweep-one"),
        ]
        assert queue.driver == os.getpid()
        assert cancel(waiting[1].id).startswith("left out of sweep-one")
        assert queue.cancelled() == {jobs[1].key}


def test_a_job_that_is_left_out_costs_no_other(home: Path, monkeypatch) -> None:
    from harness.launch import Launch, Watching, launched

    jobs = trainings(epochs=1)
    queue = QueueFolder("sweep-two")
    queue.cancel([jobs[1].key])
    ended = dict(
        (job.key, ending.state)
        for job, ending in launched(queue, jobs, {"kind": "sweep"}, Launch("inline"), Watching())
    )
    assert [ended[job.key] for job in jobs] == ["done", "failed", "failed"]
    assert "left out by bench runs cancel" in all_runs()[1].reason


def test_an_unknown_run_is_refused_with_the_known_ones(bench: Bench, home: Path) -> None:
    run("inline", trainings(seeds=(0,), epochs=1)[:1], home)
    done = bench("runs", "show", "local-gmq")
    assert done.exit_code == 2 and FOLDER in done.stderr


def test_a_queue_of_own_code_is_not_taken_up_from_a_file(home: Path, bench: Bench) -> None:
    from dataclasses import replace

    (job, _) = trainings(seeds=(0,), epochs=1)
    job = replace(job, where={**job.where, "own_code": ["evil.py:Net"]})
    with QueueFolder("sweep-own").opened([job], {"kind": "sweep"}):
        pass
    done = bench("runs", "resume", "sweep-own", "--executor", "inline", "--no-tracking")
    assert done.exit_code == 2 and "imported only for a name that is typed" in done.stderr
    assert not lock_of(paths.runs_folder() / "a" / "b").exists()


def test_a_suite_on_an_executor_gives_the_results_of_one_process(bench: Bench) -> None:
    ids = ["dense-convnet-tiny-digits", "acdc-convnet-tiny-digits-90", "acdc-resnet50-90"]
    common = ["reproduce", *ids, "--no-tracking", "--offline", "--json"]
    here = document(bench(*common))
    there = bench(*common, "--executor", "inline")
    assert there.exit_code == bench(*common).exit_code == 4
    found = document(there)
    assert [each["entry"] for each in found] == [each["entry"] for each in here]
    for one, other in zip(here[:2], found[:2], strict=True):
        assert one["counts"] == other["counts"] and one["verdict"] == other["verdict"]
        assert one["result_id"] != other["result_id"]
    assert here[2]["error"] == found[2]["error"]


def test_what_goes_with_no_executor_is_refused(bench: Bench) -> None:
    done = bench("reproduce", "dense-convnet-tiny-digits", "--executor", "inline", "--fresh")
    assert done.exit_code == 2 and "--executor goes with none of" in done.stderr


def test_a_queue_is_not_run_twice_at_once(home: Path) -> None:
    with QueueFolder("one").opened([], {}), pytest.raises(ProtocolError, match="runs this very"):
        with QueueFolder("one").opened([], {}):
            raise AssertionError("two at once")
