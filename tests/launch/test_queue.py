"""The decisions of the queue, on each executor that runs here: order, retries, one bad job."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import Preempted, ProtocolError
from harness.launch import Journal, Place, Queue, Resources, Watching, make_executor
from harness.launch import queue as rules
from tests.launch.tasks import nothing

ROOT = Path(__file__).parents[2]


def attempts(mark):
    return Counter(line.split()[0] for line in mark.read_text().splitlines())


def test_every_job_ends_once_with_its_value_and_equal_jobs_are_one(executor):
    jobs = [nothing(f"job {number % 20}") for number in range(40)]
    endings = Queue(executor).run(jobs)
    assert {e.value["name"] for e in endings.values()} == {f"job {n}" for n in range(20)}
    assert {e.state for e in endings.values()} == {"done"} and len(endings) == 20


def test_a_job_waits_for_those_it_needs(executor, tmp_path):
    mark = tmp_path / "mark"
    first = nothing("first", mark=str(mark), seconds=0.2)
    second = nothing("second", mark=str(mark), after=[first.key])
    third = nothing("third", mark=str(mark), after=[first.key, second.key])
    Queue(executor).run([third, second, first])
    begun = [line.split()[0] for line in mark.read_text().splitlines()]
    assert begun == ["first", "second", "third"]


def test_a_job_that_needs_what_nobody_submitted_is_refused(executor):
    with pytest.raises(ProtocolError, match="waits for a job that is not in the queue"):
        Queue(executor).run([nothing("alone", after=["missing"])])


@pytest.mark.parametrize(("how", "expected"), [("settings", 1), ("data", 2), ("fault", 2)])
def test_a_job_that_fails_by_itself_is_tried_as_often_as_is_said(executor, tmp_path, how, expected):
    mark = tmp_path / "mark"
    bad = nothing("bad", mark=str(mark), how=how, bad_attempts=99)
    follower = nothing("follower", after=[bad.key])
    good = nothing("good", mark=str(mark))
    endings = Queue(executor).run([bad, follower, good])
    assert attempts(mark) == {"bad": expected, "good": 1}
    assert endings[good.key].state == "done"
    assert endings[bad.key].state == endings[follower.key].state == "failed"
    assert endings[follower.key].reason.startswith("it needs bad, which failed: ")
    assert endings[bad.key].reason in endings[follower.key].reason


def test_a_fault_says_where_it_happened(executor, tmp_path):
    bad = nothing("bad", mark=str(tmp_path / "mark"), how="fault", bad_attempts=9)
    reason = Queue(executor).run([bad])[bad.key].reason
    assert reason.startswith("ZeroDivisionError: division by zero (_misbehave, line ")


def test_what_failed_once_may_work_elsewhere(executor, tmp_path):
    job = nothing("flaky", mark=str(tmp_path / "mark"), how="data", bad_attempts=1)
    assert Queue(executor).run([job])[job.key].state == "done"


def test_a_run_that_somebody_else_works_on_is_asked_for_until_it_is_free(executor, tmp_path):
    job = nothing("busy", mark=str(tmp_path / "mark"), how="busy", bad_attempts=5)
    assert Queue(executor).run([job])[job.key].state == "done"


def test_a_worker_that_dies_costs_its_job_one_attempt_and_no_other_job_anything(local, tmp_path):
    mark = tmp_path / "mark"
    jobs = [nothing(f"job{n}", mark=str(mark)) for n in range(6)]
    jobs.insert(2, nothing("victim", mark=str(mark), how="die", bad_attempts=2))
    endings = Queue(local).run(jobs)
    assert {ending.state for ending in endings.values()} == {"done"}
    assert attempts(mark) == {**{f"job{n}": 1 for n in range(6)}, "victim": 3}


def test_a_job_that_kills_its_process_at_one_place_fails_after_three_deaths(local, tmp_path):
    mark = tmp_path / "mark"
    killer = nothing("killer", mark=str(mark), how="die", bad_attempts=99)
    good = nothing("good")
    endings = Queue(local).run([killer, good])
    assert attempts(mark) == {"killer": 3}
    said = "its process ended (SIGKILL), 3 times at the same place (out of memory?)"
    assert endings[killer.key].reason == said
    assert endings[good.key].state == "done"


def test_a_job_that_gets_further_between_deaths_may_die_often(local, tmp_path):
    job = nothing("slow", mark=str(tmp_path / "m"), how="die", bad_attempts=6, steps=1, gain=10)
    assert Queue(local).run([job])[job.key].state == "done"


def test_a_preempted_job_goes_on(local, tmp_path):
    mark = tmp_path / "mark"
    job = nothing("moved", mark=str(mark), how="term", bad_attempts=4)
    assert Queue(local).run([job])[job.key].state == "done"
    assert attempts(mark) == {"moved": 5}


def test_processes_are_used_again_and_no_job_has_a_thread_here(local):
    before = threading.active_count()
    endings = Queue(local).run([nothing(f"job {n}") for n in range(50)])
    assert len({e.value["pid"] for e in endings.values()}) <= local.capacity.cpus
    assert threading.active_count() - before <= local.capacity.cpus


def test_no_more_jobs_run_at_once_than_allowed(local):
    jobs = [nothing(f"job {n}", seconds=0.05) for n in range(6)]
    running, most = set(), []

    def began(update):
        running.add(update.key)
        most.append(len(running))

    watching = Watching(update=began, ended=lambda job, ending: running.discard(job.key))
    Queue(local, watching=watching, max_jobs=1).run(jobs)
    assert len(most) == 6 and max(most) == 1


def test_what_the_journal_has_as_done_is_not_run_again(executor, tmp_path):
    mark, file = tmp_path / "mark", tmp_path / "queue" / "events.jsonl"
    good = nothing("good", mark=str(mark))
    bad = nothing("bad", mark=str(mark), how="settings", bad_attempts=1)
    first = Journal.open(file)
    Queue(executor, first).run([good, bad])
    first.close()
    with file.open("a") as lines:
        lines.write('{"key": "abc", "sta')  # the plug is pulled
    again = Journal.open(file)
    endings = Queue(executor, again).run([good, bad])
    again.close()
    assert attempts(mark) == {"good": 1, "bad": 2}
    assert {e.state for e in endings.values()} == {"done"}
    whole = [line for line in file.read_text().splitlines() if line.endswith("}")]
    assert Counter(json.loads(line)["state"] for line in whole) == {
        "queued": 3,
        "done": 2,
        "failed": 1,
    }


def test_a_finished_job_whose_run_was_deleted_is_run_again(executor, tmp_path):
    mark = tmp_path / "mark"
    job, journal = nothing("good", mark=str(mark)), Journal()
    Queue(executor, journal).run([job])
    Queue(executor, journal, still_there=lambda ending: False).run([job])
    assert attempts(mark) == {"good": 2}


def test_a_signal_to_the_driver_stops_every_job_and_leaves_no_process(local, tmp_path):
    mark = tmp_path / "mark"
    jobs = [nothing(f"job{n}", mark=str(mark), seconds=60) for n in range(5)]
    started = set()

    def strike(update):
        started.add(update.key)
        if len(started) == local.capacity.cpus:
            os.kill(os.getpid(), signal.SIGTERM)

    begun = time.monotonic()
    with pytest.raises(Preempted, match=r"SIGTERM: running jobs have saved; 5 of 5 are left"):
        Queue(local, watching=Watching(update=strike)).run(jobs)
    assert time.monotonic() - begun < 30
    pids = [int(line.split()[1]) for line in mark.read_text().splitlines()]
    local.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_of_a_killed_driver_stop_what_they_are_at(tmp_path):
    mark = tmp_path / "mark"
    code = (
        "from harness.launch import Queue\n"
        "from pathlib import Path\n"
        "from tests.launch.conftest import made\n"
        "from tests.launch.tasks import nothing\n"
        f"executor = made('local', Path({str(tmp_path)!r}))\n"
        f"Queue(executor).run([nothing('long', mark={str(mark)!r}, seconds=600)])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as driver:
        end = time.monotonic() + 60
        while not mark.exists() and time.monotonic() < end:
            time.sleep(0.01)
        driver.kill()
    pid = int(mark.read_text().split()[1])
    end = time.monotonic() + 30
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _alive(pid)


def _alive(pid):
    """Whether a process is at work; a zombie that nobody waits for is not."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def test_a_job_too_large_for_the_machine_fails_with_what_to_ask_for(local):
    big = replace(nothing("big"), resources=Resources(cpus=10_000))
    ending = Queue(local).run([big, nothing("small")])[big.key]
    assert ending.state == "failed" and "Ask for less: --cpus, --gpus, --memory" in ending.reason


def test_unknown_executors_are_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ProtocolError, match="no executor is called 'grid'; known: inline, local"):
        make_executor("grid", Place("cpu", tmp_path))


@pytest.mark.parametrize("wrong", [{"cpus": 0}, {"gpus": 2}, {"gpus": -1}, {"memory_gib": 0}])
def test_resources_that_one_job_cannot_have_are_refused(wrong):
    with pytest.raises(ProtocolError, match="torchrun"):
        Resources(**wrong)


def test_the_three_deaths_and_two_attempts_are_those_that_the_docs_state():
    assert (rules.DEATHS, rules.ATTEMPTS) == (3, 2)
