"""`bench latency`, `bench plot` and `bench shrink --channels` from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness import paths, results
from harness.models import build
from harness.profile import timing as latency
from harness.profile.backends import RUNNERS, Backend
from harness.registry import plain
from harness.results import timings as latencies
from tests.commands.conftest import Bench, document
from tests.results.test_timings import record
from tests.support.results import changes, made, trained

QUICK = ("--batch", 1, "--backend", "eager", "--no-memory", "--device", "cpu", "--repeats", 30)
SHIPPED = "str-convnet-tiny-digits-90"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns begin at once: what is tested here is not how long things take."""
    monkeypatch.setattr(latency, "SETTLE_S", 0.0)


def test_an_entry_is_timed_against_its_dense_network_and_put_on_record(bench: Bench) -> None:
    done = bench("latency", SHIPPED, *QUICK, "--json")
    assert done.exit_code == 0
    [kept] = document(done)
    assert [t["network"] for t in kept["timings"]] == ["dense", "pruned"]
    assert [n["nnz"] == n["total"] for n in kept["networks"]] == [True, False]
    assert kept["networks"][0]["weights"] == "random, seed 0"
    [stored] = latencies.load_timings(entry=SHIPPED)
    assert plain(stored) == kept
    assert str(Path.home()) not in done.stdout and "written" in done.stderr


def test_the_quick_form_is_short_and_says_how_well_it_knows(bench: Bench) -> None:
    done = bench("latency", SHIPPED, "--quick", "--json")
    [kept] = document(done)
    assert {(t["backend"], t["batch"]) for t in kept["timings"]} == {("eager", 1), ("sparse", 1)}
    assert all(30 <= len(t["samples_ms"]) <= 60 for t in kept["timings"])
    assert all(t["peak_memory_bytes"] is None for t in kept["timings"])
    assert (kept["protocol"], kept["most_repeats"], kept["wanted_width"]) == (2, 60, 0.05)


def test_a_given_number_of_passes_is_the_protocol_of_before(bench: Bench) -> None:
    done = bench("latency", "dense-convnet-tiny-digits", *QUICK, "--json")
    [kept] = document(done)
    assert (kept["protocol"], kept["most_repeats"], kept["wanted_width"]) == (1, None, None)


def test_an_entry_without_zeros_stands_alone(bench: Bench) -> None:
    done = bench("latency", "dense-convnet-tiny-digits", *QUICK)
    assert done.exit_code == 0
    assert "dense: 0.00 % zeros" in done.stdout and "pruned" not in done.stdout
    assert "n = 30 passes each" in done.stdout
    assert "The widest 95 % interval of a median is" in " ".join(done.stdout.split())


def test_weights_of_ones_own_and_densities_of_a_budget(bench: Bench, tmp_path: Path) -> None:
    network = build("convnet_tiny")
    with torch.no_grad():
        network.fc.weight.zero_()
    file = tmp_path / "mine.safetensors"
    save_file(network.state_dict(), file)
    budget = tmp_path / "shares.csv"
    budget.write_text("Overall,1,1,50.0\nLayer 1 - conv2,4608,1,75.0\n")
    words = ("--model", "convnet_tiny", "--weights", file, "--budget", f"{budget}:50")
    done = bench("latency", *words, *QUICK, "--json")
    assert done.exit_code == 0, done.stderr
    [kept] = document(done)
    assert kept["entry"] == "convnet_tiny-mine-50"
    zeros = [n["total"] - n["nnz"] for n in kept["networks"]]
    assert zeros == [0, network.fc.weight.numel(), 3 * network.conv2.weight.numel() // 4]
    assert "random places" in kept["networks"][2]["weights"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "give IDs of entries or names of runs, or --model NAME"),
        ((SHIPPED, "--model", "resnet20"), 2, "is a network convnet_tiny, not resnet20"),
        ((SHIPPED, "--budget", "a.csv:90"), 2, "--budget, --dataset and --name go with --model"),
        (("str-convnet-tiny-digits-91",), 2, "str-convnet-tiny-digits-90"),
        ((SHIPPED, "--repeats", 29), 2, "29 repeats are too few"),
        ((SHIPPED, "--backend", "tensorrt"), 2, "'tensorrt' is not one of"),
        (("--model", "convnet_tiny", "--budget", "gone.csv:90"), 2, "gone.csv"),
        (("str-resnet50-81",), 4, "str-resnet50-81"),
    ],
)
def test_wrong_requests_say_what_is_wrong(
    bench: Bench, words: tuple[object, ...], code: int, told: str
) -> None:
    done = bench("latency", *words, NO_PROXY="*", https_proxy="http://127.0.0.1:9")
    assert done.exit_code == code
    assert told in done.stderr and "Traceback" not in done.stderr
    assert list(latencies.load_timings()) == []


def test_a_missing_extra_is_named_with_its_command(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named 'onnxruntime'", name=name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    done = bench("latency", SHIPPED, *QUICK, "--backend", "onnxruntime")
    assert done.exit_code == 0
    assert "pip install 'reprune[latency]'" in done.stdout
    only = bench("latency", SHIPPED, *QUICK[:2], "--backend", "onnxruntime", "--no-memory")
    assert only.exit_code == 1
    assert "nothing could be timed" in only.stderr and "reprune[latency]" in only.stderr


def test_ctrl_c_keeps_what_is_complete(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(network: torch.nn.Module, images: torch.Tensor) -> torch.nn.Module:
        if len(images) > 1:
            raise KeyboardInterrupt
        return network

    slow = Backend("eager", lambda device: "", convert, lambda network, images: network)
    monkeypatch.setitem(RUNNERS, "eager", slow)
    done = bench("latency", SHIPPED, *QUICK, "--batch", 32)
    assert done.exit_code == 5
    assert "kept batch 1" in done.stderr
    [kept] = latencies.load_timings(entry=SHIPPED)
    assert kept.interrupted and {t.batch for t in kept.timings} == {1}


def test_plot_draws_stored_results(bench: Bench, tmp_path: Path) -> None:
    results.save(made("str-a-90"))
    results.save(made("str-b-90", when="20261101T120000Z-00000002", dataset="cifar100"))
    target = tmp_path / "p.svg"
    done = bench(
        "plot", "--dataset", "cifar10", "--x", "params", "--labels", "all", "--out", target
    )
    assert done.exit_code == 0 and "1 entries" in done.stdout
    assert "str-a-90" in target.read_text() and "str-b-90" not in target.read_text()
    mixed = bench("plot", "--out", tmp_path / "all.svg")
    assert mixed.exit_code == 2 and "choose one with --dataset" in mixed.stderr
    empty = bench("plot", "--dataset", "cifar10", "--x", "latency", "--out", tmp_path / "l.png")
    assert empty.exit_code == 1 and "bench latency ID" in empty.stderr


def test_plot_takes_the_filters_of_table_and_says_what_it_left_out(
    bench: Bench, tmp_path: Path
) -> None:
    results.save(made("str-a-90", measured=91.0))
    results.save(made("str-b-90", when="20261101T120000Z-00000002", measured=80.0))
    short = changes(("length", "4ep", "160ep"))
    results.save(trained(entry="mine", when="20261103T120000Z-00000003", overrides=short))
    words = ("plot", "--dataset", "cifar10", "--labels", "all", "--out", tmp_path / "p.svg")
    done = bench(*words, "--min", "top1=85")
    text = (tmp_path / "p.svg").read_text()
    assert "str-a-90" in text and "str-b-90" not in text and "mine" not in text
    assert "1 short or partial ones left out (--partial)" in done.stdout
    assert bench(*words, "--partial").exit_code == 0
    assert "mine" in (tmp_path / "p.svg").read_text()
    only = bench(*words, "--method", "gmp")
    assert only.exit_code == 2 and "draw them with --partial" in only.stderr


def test_plot_shows_latencies_of_one_machine(bench: Bench, tmp_path: Path) -> None:
    for i, (name, machine) in enumerate([("str-a-90", "m1"), ("str-b-90", "m2")]):
        when = f"20261101T12000{i}Z-0000000{i}"
        results.save(made(name, when=when))
        latencies.save_timings(record(name, when=when, machine=machine))
    for machine, shown, hidden in (("m1", "str-a", "str-b"), ("m2", "str-b", "str-a")):
        target = tmp_path / f"{machine}.svg"
        words = ("--x", "latency", "--machine", machine, "--labels", "all", "--out", target)
        assert bench("plot", "--dataset", "cifar10", *words).exit_code == 0
        text = target.read_text()
        assert shown in text and hidden not in text and f"machine {machine}" in text
    words = ("--x", "latency", "--machine", "m3", "--out", tmp_path / "m3.svg")
    unknown = bench("plot", "--dataset", "cifar10", *words)
    assert unknown.exit_code == 2 and "'m3'; on record: m1, m2" in unknown.stderr


def test_a_network_is_cut_written_and_timed(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    out = tmp_path / "half.safetensors"
    made = bench("shrink", "dense-convnet-tiny-digits", "--channels", 0.5, "--out", out, "--json")
    assert made.exit_code == 0, made.stderr
    whole, small = document(made)["networks"]
    assert small["macs_dense"] < whole["macs_dense"] / 2
    timed = bench("latency", "--model", "convnet_tiny", "--weights", out, *QUICK, "--json")
    assert timed.exit_code == 0, timed.stderr
    assert document(timed)[0]["networks"][1]["params"] == small["params"]
    assert paths.latency_folder().is_dir()


def test_shrink_wants_one_network(bench: Bench, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "s.safetensors")
    assert "give a run, an entry or a result" in bench("shrink", *out).stderr
    assert "--model goes with --channels" in bench("shrink", "--model", "resnet20", *out).stderr
    assert not (tmp_path / "s.safetensors").exists()
