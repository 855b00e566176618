"""Ray and Slurm, real ones on this machine: what is true of a pool of processes is true of them.

Ray: three nodes as its own cluster utility starts them (extra `cluster`). Slurm: one node, as
tests/launch/slurm_here.sh starts it; without one its tests are skipped.
"""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ProtocolError
from harness.launch import Place, Queue, Resources, Watching, make_executor
from tests.launch.tasks import nothing
from tests.launch.trainings import prunings, results, run, shared, trainings, weights

ROOT = Path(__file__).parents[2]
SMALL = Resources(1, 0.0, 0.5)
DEADLINE_S = 400
TOO_LONG_S = 100.0  # of training: Slurm tells a job of two minutes after one to two
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def jobs_of_training():
    return [replace(job, resources=SMALL) for job in [*trainings(), *prunings(0.5)]]


@pytest.fixture(scope="module")
def nodes():
    """A Ray cluster of three nodes of one CPU each; the first holds what Ray itself needs."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 2**31})
    for _ in range(2):
        cluster.add_node(num_cpus=1, memory=2**31)
    yield cluster
    cluster.shutdown()


@pytest.fixture(params=["ray", "slurm"])
def place(request, tmp_path):
    """(name, options) of each cluster that is here."""
    if request.param == "ray":
        return "ray", {"address": request.getfixturevalue("nodes").address}
    if not shutil.which("squeue") or subprocess.run(["squeue"], capture_output=True).returncode:
        pytest.skip("no Slurm answers here; tests/launch/slurm_here.sh starts one")
    return "slurm", {"time": 5}


@pytest.fixture
def executor(place, tmp_path):
    name, options = place
    made = make_executor(name, Place("cpu", tmp_path / "logs", "tests.launch.tasks:run", options))
    yield made
    made.close()


@pytest.fixture(scope="module")
def inline(tmp_path_factory):
    """What the trainings leave in this process."""
    home = tmp_path_factory.mktemp("inline")
    before = os.environ["BENCH_HOME"]
    os.environ["BENCH_HOME"] = str(home)
    try:
        run("inline", jobs_of_training(), home)
    finally:
        os.environ["BENCH_HOME"] = before
    return weights(home)


def test_jobs_end_once_whatever_becomes_of_single_ones(executor, tmp_path):
    mark = tmp_path / "mark"

    def job(name, **what):
        return replace(nothing(name, mark=str(mark), **what), resources=SMALL)

    fine = [job(f"job{number}") for number in range(5)]
    victim = job("victim", how="die", bad_attempts=1)
    moved = job("moved", how="term", bad_attempts=1)
    bad = job("bad", how="settings", bad_attempts=9)
    after = job("after", after=[victim.key])
    endings = Queue(executor).run([*fine, victim, moved, bad, after])
    assert {endings[j.key].state for j in (*fine, victim, moved, after)} == {"done"}
    assert (endings[bad.key].state, endings[bad.key].reason) == ("failed", "no such setting")
    attempts = Counter(line.split()[0] for line in mark.read_text().splitlines())
    assert attempts == {
        **{f"job{n}": 1 for n in range(5)},
        "victim": 2,
        "moved": 2,
        "bad": 1,
        "after": 1,
    }


def test_a_job_that_runs_is_asked_to_save(executor):
    long = replace(nothing("long", seconds=300), resources=SMALL)
    executor.submit(long)
    begun = []
    deadline = time.monotonic() + 200
    while not begun and time.monotonic() < deadline:
        executor.poll(begun.append, 0.5)
    executor.cancel(long.key)
    while not executor.poll(lambda update: None, 1.0):
        assert time.monotonic() < deadline
    assert executor.collect(long.key).state == "preempted"


def test_trainings_leave_the_bits_of_one_process_and_one_result_each(
    place, tmp_path, monkeypatch, inline
):
    name, options = place
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    endings = run(name, jobs_of_training(), tmp_path, options=options)
    assert {ending.state for ending in endings.values()} == {"done"}
    assert weights(tmp_path) == inline
    assert len(results(tmp_path)) == 2


def test_a_node_and_the_driver_die_and_the_command_repeated_finishes(
    nodes, tmp_path, monkeypatch, inline
):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    extra = nodes.add_node(num_cpus=1, memory=2**31)
    command = [sys.executable, "-m", "tests.launch.driver", str(tmp_path), "ray"]

    def begun():
        return bool(list(tmp_path.glob("runs/*/*/state.pt")))

    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as driver:
        end = time.monotonic() + DEADLINE_S
        while not begun() and time.monotonic() < end:
            time.sleep(0.01)
        nodes.remove_node(extra, allow_graceful=False)
        time.sleep(2)
        driver.send_signal(signal.SIGKILL)
    done = subprocess.run(command, cwd=ROOT, timeout=DEADLINE_S, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert weights(tmp_path) == inline
    assert len(results(tmp_path)) == 2


def test_more_than_any_node_has_is_refused(nodes, tmp_path):
    options = {"address": nodes.address}
    made = make_executor("ray", Place("cpu", tmp_path, "tests.launch.tasks:run", options))
    try:
        with pytest.raises(ProtocolError, match=r"no node has that: 1 CPUs.*--cpus"):
            made.submit(replace(nothing("big"), resources=Resources(64)))
    finally:
        made.close()


@pytest.fixture
def slurm_training(tmp_path, monkeypatch):
    """Begins a training of one seed on Slurm, in a thread; its home, the thread, what it tells."""
    if not shutil.which("squeue") or subprocess.run(["squeue"], capture_output=True).returncode:
        pytest.skip("no Slurm answers here; tests/launch/slurm_here.sh starts one")
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    (home := tmp_path / "one").mkdir()
    threads = []

    def begin(epochs, minutes, save_every_s):
        jobs = trainings(seeds=(0,), epochs=epochs, save_every_s=save_every_s)
        small = [replace(job, resources=SMALL) for job in jobs]
        endings, events = {}, []
        watching = Watching(event=lambda job, event: events.append(event.state))
        executor = make_executor("slurm", Place("cpu", home / "logs", options={"time": minutes}))

        def work():
            endings.update(Queue(executor, watching=watching).run(small))
            executor.close()

        threads.append(threading.Thread(target=work))
        threads[0].start()
        return tmp_path, threads[0], endings, events

    yield begin
    threads[0].join(DEADLINE_S)


def test_a_job_that_is_requeued_goes_on(slurm_training):
    home, thread, endings, _ = slurm_training(epochs=30, minutes=5, save_every_s=0)
    end = time.monotonic() + DEADLINE_S
    while not list(home.glob("runs/*/*/state.pt")) and time.monotonic() < end:
        time.sleep(0.05)
    words = ["squeue", "--noheader", "--format=%i %T", "--user", str(os.getuid())]
    listed = subprocess.run(words, capture_output=True, text=True).stdout
    [number] = re.findall(r"^(\S+) RUNNING$", listed, re.MULTILINE)
    subprocess.run(["scontrol", "requeue", number], check=True)
    thread.join(DEADLINE_S)
    assert {ending.state for ending in endings.values()} == {"done"}
    assert len(results(home)) == 1


def test_a_job_that_reaches_its_time_limit_goes_on_in_another(
    slurm_training, monkeypatch, tmp_path
):
    began = time.monotonic()
    run("inline", trainings(seeds=(5,), epochs=50), tmp_path)
    epochs = math.ceil(TOO_LONG_S * 50 / (time.monotonic() - began))
    home, thread, endings, events = slurm_training(epochs, minutes=2, save_every_s=600)
    thread.join(3 * DEADLINE_S)
    assert {ending.state for ending in endings.values()} == {"done"}
    assert "preempted" in events  # told before its limit, saved, and was sent again
    [folder] = home.glob("runs/*/*-seed0")
    monkeypatch.setenv("BENCH_HOME", str(home / "undisturbed"))
    run("inline", trainings(seeds=(0,), epochs=epochs), home / "one")
    [calm] = home.glob("undisturbed/runs/*/*-seed0")
    there, here = (each / "weights.safetensors" for each in (folder, calm))
    assert there.read_bytes() == here.read_bytes()


@pytest.fixture
def apart(tmp_path):
    """A Ray cluster whose nodes share no home: the first has `the-data`, the second lacks it."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from ray.cluster_utils import Cluster

    def node(name):
        (tmp_path / name).mkdir()
        return {"num_cpus": 1, "memory": 2**31, "env_vars": {"BENCH_HOME": str(tmp_path / name)}}

    cluster = Cluster(initialize_head=True, head_node_args=node("head"))
    (tmp_path / "head" / "the-data").touch()
    lacking = cluster.add_node(**node("lacking"))
    yield cluster, lacking
    cluster.shutdown()


def test_nodes_that_share_only_a_store(apart, tmp_path, monkeypatch, inline):
    """A job that lacks its data goes elsewhere; a sweep survives the loss of a node."""
    cluster, lacking = apart
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "command"))
    options = {"address": cluster.address}
    place = Place("cpu", tmp_path / "logs", "tests.launch.tasks:run", options)
    jobs = [
        replace(nothing(f"job{n}", needs=need), resources=SMALL, where={"store": "unused"})
        for n, need in enumerate(["the-data"] * 4 + ["nobody-has-it"])
    ]
    said = []
    executor = make_executor("ray", place)
    watching = Watching(event=lambda job, event: said.append((job.name, event.state)))
    endings = Queue(executor, watching=watching).run(jobs)
    executor.close()
    assert [endings[job.key].state for job in jobs] == ["done"] * 4 + ["failed"]
    assert endings[jobs[4].key].reason == "nobody-has-it is not on this node. Copy it there"
    assert max(Counter(said)[job.name, "elsewhere"] for job in jobs[:4]) == 1
    assert Counter(said)["job4", "elsewhere"] == 2  # once in each of its two attempts

    store = tmp_path / "store"
    begun = []

    def strike(update):
        if not begun and list(store.glob("runs/*/*/state.pt")):
            begun.append(update)
            cluster.remove_node(lacking, allow_graceful=False)

    jobs = [replace(job, resources=SMALL) for job in [*trainings(save_every_s=0), *prunings(0.5)]]
    endings = run("ray", shared(jobs, store), tmp_path, strike, options)
    assert len(begun) == 1
    assert {ending.state for ending in endings.values()} == {"done"}
    assert weights(tmp_path / "command") == inline
    assert len(results(tmp_path / "command")) == 2
