"""Nodes with homes of their own that share nothing but a store: what one leaves, another has."""

import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.errors import DataError, ProtocolError
from harness.launch import Ending
from harness.launch.remote import remote_attempt
from harness.launch.through_store import arrived, brought_home, sent
from harness.results import load_all
from harness.system import SharedStore
from tests.launch.trainings import prunings, results, run, shared, trainings, weights

ROOT = Path(__file__).parents[2]
WORK = "harness.launch.work:run"


class Killed(BaseException):
    """What nobody catches, as nobody catches a kill."""


@pytest.fixture
def at(tmp_path, monkeypatch):
    """Makes the home of a node, or of the command, the one in use from then on."""

    def use(name):
        monkeypatch.setenv("BENCH_HOME", str(tmp_path / name))
        return tmp_path / name

    return use


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What training jobs leave when they run one after the other in one home, by their names."""
    known = {}

    def left(name, jobs):
        if name not in known:
            home = tmp_path_factory.mktemp("alone")
            before = os.environ["BENCH_HOME"]
            os.environ["BENCH_HOME"] = str(home)
            run("inline", jobs, home)
            os.environ["BENCH_HOME"] = before
            known[name] = weights(home)
        return known[name]

    return left


def attempted(job):
    return Ending(**remote_attempt(WORK, asdict(job), "node", lambda update: None))


def some(seeds=(0,)):
    """Trainings of six steps, saved after each."""
    return trainings(seeds=seeds, images=160, save_every_s=0.0)


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        ("gmp", lambda: some(seeds=(0, 1))),
        pytest.param("magnitude", lambda: prunings(0.5), marks=pytest.mark.slow),
    ],
)
def test_whatever_node_does_a_job_the_command_gets_each_run_and_each_result_once(
    at, tmp_path, alone, name, jobs
):
    at("command")
    wanted = alone(name, jobs())
    for number, job in enumerate(shared(jobs(), tmp_path / "store")):
        at(f"node{number % 2}")
        ending = attempted(job)
        assert ending.state == "done", ending.reason
        if job.kind == "result":  # the command died before it heard of it
            at("node2")
            assert attempted(job).value == ending.value
        at("command")
        for _ in range(2):
            brought_home(ending, str(tmp_path / "store"))
    home = at("command")
    assert weights(home) == wanted
    assert len(results(home)) == len(list(load_all())) == 1
    assert len(list(home.glob("reports/results/*/*.npz"))) == 1
    assert len(list(home.glob("runs/*/*/run.yaml"))) == len(wanted)
    assert not list((tmp_path / "store").rglob("state.pt"))


@pytest.mark.parametrize("moment", ["after a save", "in the middle of one"])
def test_another_node_goes_on_from_the_last_save(at, tmp_path, monkeypatch, alone, moment):
    at("command")
    wanted = alone("gmp", some(seeds=(0, 1)))
    (job,) = shared(some()[:1], tmp_path / "store")
    whole, kept = SharedStore.keep, []

    def keep(self, file, name=None):
        """As ever, until the node dies at its fourth state."""
        kept.append(file.name)
        if "node0" not in str(file) or kept.count("state.pt") < 4:
            return whole(self, file, name)
        if moment == "after a save":
            whole(self, file, name)
        else:
            folder = tmp_path / "store" / file.parent.relative_to(tmp_path / "node0")
            (folder / "state.pt.1.part").write_bytes(file.read_bytes()[:1000])
        raise Killed

    monkeypatch.setattr(SharedStore, "keep", keep)
    at("node0")
    with pytest.raises(Killed):
        attempted(job)
    home = at("node1")
    assert attempted(job).state == "done"
    # A state for each of the six steps: none that was saved is made twice.
    assert kept.count("state.pt") == (6 if moment == "after a save" else 7)
    ((name, found),) = weights(home).items()
    assert wanted[name] == found


def test_what_a_job_reads_of_the_command_s_machine_arrives_or_is_refused(at, tmp_path):
    at("command")
    registry = tmp_path / "mine.yaml"
    registry.write_text("version: 1\n")
    (job, _) = trainings(seeds=(0,))
    job = replace(job, where={**job.where, "registries": [str(registry)]})
    job = sent(job, str(tmp_path / "store"))
    assert arrived(job).where["registries"] == [str(registry)]  # this node has the same
    registry.write_text("version: 2\n")
    home = at("node")
    (copy,) = arrived(job).where["registries"]
    assert Path(copy).read_text() == "version: 1\n" and Path(copy).is_relative_to(home)
    Path(copy).unlink()
    (there,) = (tmp_path / "store" / "files").rglob("mine.yaml")
    there.write_text("version: 3\n")
    with pytest.raises(DataError, match="mine.yaml arrived with another sha256"):
        arrived(job)


def test_a_node_with_other_images_is_named_with_what_mends_it(at, tmp_path):
    at("command")
    (job, _) = shared(trainings(seeds=(0,)), tmp_path / "store")
    job = replace(job, what={**job.what, "data": "0" * 64})
    at("node")
    ending = attempted(job)
    assert (ending.state, ending.error) == ("failed", "DataError")
    assert "digits: other images on this node" in ending.reason
    assert "BENCH_DATA_ROOT" in ending.reason


def test_code_and_pictures_of_one_machine_are_refused_before_anything_runs(at, tmp_path):
    at("command")
    (job, _) = trainings(seeds=(0,))
    own = replace(job, where={**job.where, "own_code": ["nets.py:Net"]})
    with pytest.raises(ProtocolError, match=r"nets.py:Net is a file of this machine.*Install it"):
        sent(own, str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nothing://x", "Protocol not known: nothing. A folder, or an address such as"),
        ("{home}", "is the home folder. Nodes that see it need no --store"),
    ],
)
def test_an_address_that_cannot_be_a_store_is_one_line(at, address, said):
    home = at("command")
    with pytest.raises(ProtocolError, match=said):
        SharedStore(address.format(home=home))


@pytest.mark.parametrize("address", ["{folder}/store", "memory://store"])
def test_a_store_has_what_was_kept_under_its_name_in_the_home(at, tmp_path, address):
    home = at("command")
    store = SharedStore(address.format(folder=tmp_path))
    file = home / "runs" / "entry" / "one" / "state.pt"
    file.parent.mkdir(parents=True)
    for content in (b"old", b"new"):
        file.write_bytes(content)
        store.keep(file)
    assert store.names(home / "runs") == ["entry/one/state.pt"]
    elsewhere = at("node") / "runs" / "entry" / "one" / "state.pt"
    store.fetch(elsewhere)
    assert elsewhere.read_bytes() == b"new"
    store.forget(elsewhere.parent)
    store.forget(elsewhere.parent)
    assert store.names(elsewhere.parent) == []
    with pytest.raises(DataError, match="cannot read the store"):
        store.fetch(elsewhere)
    assert elsewhere.read_bytes() == b"new"
