"""A finished run that is repeated stores nothing again, wherever the first command was killed."""

import os
import shutil
import signal

import pytest
from click.testing import CliRunner

from cli import main
from harness.reports.plots import density
from tests.support.runs import Command

COMMON = ["--model", "convnet_tiny", "--dataset", "digits", "--no-tracking", "--device", "cpu"]
SMALL = ["--set", "train_images=64"]
TRAIN = ["train", "--method", "dense", *COMMON, *SMALL, "--set", "epochs=1"]
PRUNE = ["prune", *COMMON, *SMALL, "--target", "0.5", "--finetune", "1ep", "--method"]
RD = [*PRUNE, "rd", "--set", "settings.calibration_size=8"]


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """weights.safetensors of a small training."""
    home = tmp_path_factory.mktemp("dense")
    Command(home, TRAIN).run()
    (file,) = home.glob("runs/*/*/weights.safetensors")
    return file


@pytest.fixture(params=["train", "magnitude", "rd"])
def arguments(request, dense):
    kinds = {"train": TRAIN, "magnitude": [*PRUNE, "magnitude"], "rd": RD}
    return kinds[request.param] + (["--weights", dense] if request.param != "train" else [])


def stored(home):
    """Names of the files of all results: one JSON, one npz and one png each."""
    return {
        suffix: sorted(file.stem for file in home.glob(f"reports/results/*/*.{suffix}"))
        for suffix in ("json", "npz", "png")
    }


def contents(home):
    return {file: file.read_bytes() for file in home.glob("reports/results/*/*.*")}


def assert_one_result(home):
    files = stored(home)
    assert len(files["json"]) == 1
    assert files["json"] == files["npz"] == files["png"]


def bench(*arguments):
    return CliRunner().invoke(main, [str(part) for part in arguments])


def test_a_repeated_run_stores_nothing_and_shows_the_same(tmp_path, monkeypatch, arguments):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    first = bench(*arguments)
    assert first.exit_code == 0, first.output
    before = contents(tmp_path)
    again = bench(*arguments)
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout
    assert "on record since" in again.stderr
    assert contents(tmp_path) == before
    assert_one_result(tmp_path)


@pytest.mark.slow
def test_killed_at_any_write_of_its_end_it_is_stored_once_and_drawn(tmp_path, arguments):
    """Weights, predictions, done.json, the result's answers, the result, its picture."""
    whole = tmp_path / "whole"
    Command(whole, arguments).run()
    reference = Command(whole, arguments).final_bytes()
    home = tmp_path / "killed"
    ends = 0
    for write in range(1, 40, 1 if arguments == TRAIN else 5):
        shutil.rmtree(home, ignore_errors=True)
        struck = Command(home, arguments, strike=(write, signal.SIGKILL)).start()
        struck.process.join()
        if struck.process.exitcode == 0:
            break
        assert struck.process.exitcode == -signal.SIGKILL, struck.log
        Command(home, arguments).run()
        assert_one_result(home)
        assert Command(home, arguments).final_bytes() == reference
        ends += 1
    assert ends >= (6 if arguments == TRAIN else 2)


@pytest.mark.parametrize("moment", ["before drawing", "while drawing"])
def test_killed_between_saving_and_drawing_it_is_not_doubled(tmp_path, monkeypatch, moment):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))

    def killed(result, target):
        if moment == "while drawing":
            target.with_name(f".{target.name}.1.part").write_bytes(b"half")
        raise SystemExit(-9)

    with monkeypatch.context() as patched:
        patched.setattr(density, "density_plot", killed)
        assert bench(*TRAIN).exit_code == -9
    assert len(stored(tmp_path)["json"]) == 1 and not stored(tmp_path)["png"]
    assert bench(*TRAIN).exit_code == 0
    assert_one_result(tmp_path)


def test_another_seed_and_a_fresh_start_are_other_results(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    for number, more in enumerate(([], ["--seeds", "2"], ["--fresh"], ["--set", "batch=8"]), 1):
        assert bench(*TRAIN, *more).exit_code == 0
        assert len(stored(tmp_path)["json"]) == number


def test_a_lost_result_of_a_finished_run_is_stored_again(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    assert bench(*TRAIN).exit_code == 0
    shutil.rmtree(tmp_path / "reports")
    assert bench(*TRAIN).exit_code == 0
    assert_one_result(tmp_path)


def test_two_processes_that_finish_together_store_one_result(tmp_path):
    home = tmp_path / "home"
    Command(home, TRAIN).run()
    shutil.rmtree(home / "reports")
    both = [Command(home, TRAIN).start() for _ in range(2)]
    codes = []
    for command in both:
        command.process.join(120)
        codes.append(command.process.exitcode)
    assert set(codes) <= {0, 2} and 0 in codes  # 2: the other one is at work on this run
    assert_one_result(home)
    assert os.listdir(home / "runs" / ".locks") == []
