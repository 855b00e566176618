"""Trainings as jobs: the same bits wherever they run, and whoever is killed meanwhile."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.launch import Resources
from harness.results import load_all
from tests.launch.trainings import prunings, results, run, trainings, weights

ROOT = Path(__file__).parents[2]
DEADLINE_S = 120


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """Makes an empty home that is the one in use from then on."""

    def use(name):
        home = tmp_path / name
        monkeypatch.setenv("BENCH_HOME", str(home))
        return home

    return use


@pytest.fixture(scope="module")
def inline(tmp_path_factory):
    """What the jobs leave when they run one after the other in this process."""
    home = tmp_path_factory.mktemp("inline")
    before = os.environ["BENCH_HOME"]
    os.environ["BENCH_HOME"] = str(home)
    try:
        run("inline", [*trainings(), *prunings(0.5)], home)
    finally:
        os.environ["BENCH_HOME"] = before
    return weights(home)


def test_a_pool_leaves_the_bits_of_one_process_and_one_result_each(homes, inline):
    home = homes("local")
    jobs = [*trainings(), *prunings(0.5)]
    endings = run("local", jobs, home)
    assert {ending.state for ending in endings.values()} == {"done"}
    assert weights(home) == inline and len(inline) == 6
    assert len(results(home)) == 2
    again = run("local", jobs, home)
    assert again == endings and len(results(home)) == 2


@pytest.mark.slow
def test_a_dense_training_is_shared_by_all_levels_seed_by_seed(homes):
    homes("shared")
    jobs = [*prunings(0.5), *prunings(0.8)]
    keys = {job.key for job in jobs if "dense" in job.name}
    assert len(keys) == 2 and len({job.key for job in jobs}) == 2 + 2 * 2 + 2
    home = homes("shared")
    run("inline", jobs, home)
    folders = [Path(name).parent.name for name in weights(home)]
    assert folders.count("local-dense-convnet-tiny-digits") == 2
    for result in load_all():
        note = "started from the same seed of local-dense-convnet-tiny-digits, trained here"
        assert any(line.startswith(note) for line in result.notes)
        assert [r.seed for r in result.runs] == [0, 1]


@pytest.mark.slow
def test_without_its_journal_a_queue_finds_every_finished_run_and_result(homes):
    home = homes("local")
    run("inline", trainings(), home)
    (home / "events.jsonl").unlink()
    before = {file: file.stat().st_mtime_ns for file in home.glob("r*/**/*.json")}
    run("inline", trainings(), home)
    assert {file: file.stat().st_mtime_ns for file in home.glob("r*/**/*.json")} == before


def test_bad_settings_fail_once_with_their_reason_and_the_rest_goes_on(homes):
    home = homes("bad")
    jobs = [*trainings(seeds=(0,), sparsity=2), *trainings(seeds=(0,))]
    endings = run("inline", jobs, home)
    states = [endings[job.key].state for job in jobs]
    assert states == ["failed", "failed", "done", "done"]
    assert endings[jobs[0].key].error == "SettingsError"
    assert len(results(home)) == 1


@pytest.mark.slow
def test_killed_workers_lose_nothing(homes, inline):
    home = homes("killed")
    killed = []

    def strike(update):
        """Kill whoever is at work on an unfinished run, until four have died."""
        for file in (home / "runs").glob("*/*/progress.json"):
            pid = int(file.read_text().rpartition('"pid": ')[2].rstrip("}"))
            if pid not in killed and len(killed) < 4 and not (file.parent / "done.json").exists():
                killed.append(pid)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue

    endings = run("local", [*trainings(), *prunings(0.5)], home, strike)
    assert {ending.state for ending in endings.values()} == {"done"}
    assert len(killed) == 4
    assert weights(home) == inline and len(results(home)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_driver_and_its_command_repeated_lose_nothing(homes, inline, number):
    home = homes("driver")
    command = [sys.executable, "-m", "tests.launch.driver", str(home)]
    environment = {**os.environ, "BENCH_HOME": str(home)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as driver:
        end = time.monotonic() + DEADLINE_S
        while not list(home.glob("runs/*/*/state.pt")) and time.monotonic() < end:
            time.sleep(0.005)
        driver.send_signal(number)
        said = driver.communicate(timeout=DEADLINE_S)[1].decode()
    if number == signal.SIGTERM:
        assert driver.returncode == 5, said
        assert "SIGTERM: running jobs have saved" in said
    done = subprocess.run(command, cwd=ROOT, env=environment, timeout=DEADLINE_S)
    assert done.returncode == 0
    assert weights(home) == inline and len(results(home)) == 2


def test_what_decides_a_result_is_in_the_key_and_nothing_else():
    (one, result) = trainings(seeds=(0,))
    keys = {job.key for job in trainings(seeds=(0,), save_every_s=1.0)}
    assert keys == {one.key, result.key}
    other = [*trainings(seeds=(1,)), *trainings(seeds=(0,), epochs=3)]
    assert not keys & {job.key for job in other}
    assert one.resources == Resources(1, 0.0, 2.0)


def test_the_very_gpu_that_is_named_is_used_where_the_command_runs():
    from harness.launch.work import _request
    from harness.system import Silent

    (job, _) = trainings(seeds=(0,))
    on_gpu = {**job.what, "request": {**job.what["request"], "device": "cuda"}}
    for named, used in [("cuda:1", "cuda:1"), ("cpu", "cuda")]:
        moved = replace(job, what=on_gpu, where={**job.where, "device": named})
        assert _request(moved, Silent()).options.device == used
    assert _request(replace(job, what=on_gpu), Silent()).options.device == "cuda"
