"""Two processes as torchrun starts them, against one: same masks and network, each image once."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training import together

ROOT = Path(__file__).parents[2]
TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc-per-node", "2"),
]
ATOL = 1e-5  # float32: gradients summed over two halves of a batch instead of at once


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(facts of the one process, facts of rank 0 and of rank 1, their folders)."""
    base = tmp_path_factory.mktemp("together")
    for name in ("one", "two"):
        (base / name).mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([together.__name__])  # torch is imported once for both
    pair = [
        context.Process(target=together.one_of_two, args=(number, port, base / "two"))
        for number in (0, 1)
    ]
    for process in pair:
        process.start()
    together.main(base / "one")  # this process, alone
    for process in pair:
        process.join()
    assert [process.exitcode for process in pair] == [0, 0]
    alone = json.loads((base / "one" / "rank0.json").read_text())
    both = [json.loads((base / "two" / f"rank{r}.json").read_text()) for r in (0, 1)]
    return alone, both, base


@pytest.mark.parametrize("protocol", ["acdc", "prune"])
def test_every_rank_holds_the_same_masks_and_weights(runs, protocol):
    _, (first, second), _ = runs
    assert first[protocol] == second[protocol]


@pytest.mark.parametrize("protocol", ["acdc", "prune"])
def test_two_processes_keep_as_many_weights_as_one(runs, protocol):
    alone, (first, _), _ = runs
    assert first[protocol]["kept"] == alone[protocol]["kept"]


@pytest.mark.parametrize("protocol", ["acdc", "prune"])
def test_evaluation_counts_each_image_once(runs, protocol):
    _, both, _ = runs
    for found in both:
        assert found[protocol]["n"] == 25
        assert len(found[protocol]["predictions"]) == 25


def test_two_halves_of_a_batch_train_like_the_whole(runs):
    alone, (first, _), base = runs
    one, two = (load_file(base / name / "acdc.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=ATOL)
    assert first["acdc"]["losses"] == pytest.approx(alone["acdc"]["losses"], abs=ATOL)
    assert first["acdc"]["predictions"] == alone["acdc"]["predictions"]


@pytest.mark.parametrize("name", together.SEARCHES)
def test_every_rank_searches_the_same_filters(runs, name):
    _, (first, second), _ = runs
    assert first["searches"][name] == second["searches"][name]


@pytest.mark.parametrize("name", together.GATED)
def test_gates_learn_from_both_halves_of_a_batch(runs, name):
    alone, (first, second), base = runs
    assert first["gated"][name] == second["gated"][name]
    one, two = (load_file(base / run / f"{name}.safetensors") for run in ("one", "two"))
    assert one.keys() == two.keys() and any(key.startswith("ftwt.") for key in one)
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=0, atol=ATOL)
    assert first["gated"][name]["losses"] == pytest.approx(alone["gated"][name]["losses"], abs=ATOL)


@pytest.mark.parametrize("name", ["edropout", "ipruning-plain"])
def test_candidates_are_judged_by_the_whole_batch(runs, name):
    """Without batch norm, whose statistics are each process's own, two find what one finds."""
    alone, (first, _), _ = runs
    one, two = alone["searches"][name], first["searches"][name]
    assert two["population"] == one["population"]
    assert two["counters"] == one["counters"]
    assert two["losses"] == pytest.approx(one["losses"], abs=ATOL)


def test_masks_that_differ_between_processes_are_refused(runs):
    alone, both, _ = runs
    for found in both:
        assert "odd: masks or counters differ between the 2 processes" in found["refusal"]
    assert alone["refusal"] == ""


@pytest.mark.slow
def test_only_the_first_process_prints_and_writes(tmp_path):
    code = "from cli import main; main()"
    (tmp_path / "bench.py").write_text(code)
    arguments = "train --method magnitude --model convnet_tiny --dataset digits --no-tracking"
    settings = ["--set", "epochs=1", "--set", "settings.sparsity=0.5", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BENCH_HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [*TORCHRUN, str(tmp_path / "bench.py"), *arguments.split(), *settings],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert "2 processes" in document["notes"]
    assert document["counts"]["n"] == 364
    assert len(list(tmp_path.glob("reports/results/*/*.json"))) == 1
    assert done.stderr.count("epoch 1/1") == 1
