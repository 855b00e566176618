"""Commands that are really killed, and typed again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.protocols.support import Command

ROOT = Path(__file__).parents[3]
COMMON = ["--model", "convnet_tiny", "--dataset", "digits", "--no-tracking"]
TRAIN = ["train", *COMMON, "--set", "epochs=6"]  # 23 steps per epoch
RUNS = {
    "acdc": [*TRAIN, "--method", "acdc", "--set", "settings.sparsity=0.9"],
    "str": [*TRAIN, "--method", "str", "--set", "settings.s_init=-5"],
    "prune": ["prune", *COMMON, "--method", "magnitude", "--target", "0.9", "--rounds", "3"]
    + ["--finetune", "2ep"],
}


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A network to prune: weights.safetensors of one epoch of dense training."""
    home = tmp_path_factory.mktemp("dense")
    Command(home, [*TRAIN[:-1], "epochs=1", "--method", "dense"]).run()
    (file,) = home.glob("runs/*/*/weights.safetensors")
    return file


@pytest.mark.parametrize("name", RUNS)
def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path, dense, name):
    arguments = RUNS[name] + (["--weights", dense] if name == "prune" else [])
    whole = Command(tmp_path / "whole", arguments).start()
    killed = Command(tmp_path / "killed", arguments, save_every_s=0.0)
    killed.start()
    time.sleep(0.2)  # right after the start: imports, data, perhaps the first step
    os.kill(killed.process.pid, signal.SIGKILL)
    killed.process.join()
    for saves in (1, 40, 33):  # with a save after every step: mid-epoch, in three phases or rounds
        killed.start().send_after_saves(signal.SIGKILL, saves)
        killed.finish(-signal.SIGKILL)
        assert not list(killed.home.glob("runs/*/*/done.json"))
    output = killed.run()
    assert "resumed" in output
    whole.finish()
    assert killed.final_bytes() == whole.final_bytes()


def test_the_command_typed_in_a_shell_survives_a_kill(tmp_path):
    """As a user types it, without any help: epochs are saved, the rest is repeated."""
    code = ["-c", "from cli import main; main()"]
    arguments = [*RUNS["acdc"], "--set", "batch=16"]
    home = tmp_path / "shell"
    environment = {**os.environ, "BENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    typed = Command(home, arguments)
    whole = Command(tmp_path / "whole", arguments).start()
    for saves in (2, None):
        with subprocess.Popen(
            [sys.executable, *code, *arguments], cwd=ROOT, env=environment, stderr=subprocess.PIPE
        ) as process:
            if saves:
                typed.home.mkdir(exist_ok=True)
                _kill_after(typed, process, saves)
            error = process.communicate()[1].decode()
        assert process.returncode == (-signal.SIGKILL if saves else 0), error
    assert "resumed at step" in error
    whole.finish()
    assert typed.final_bytes() == whole.final_bytes()


def _kill_after(command, process, saves):
    command.process = type("Running", (), {"pid": process.pid, "is_alive": lambda self: True})()
    (command.home / "log").touch()
    command.send_after_saves(signal.SIGKILL, saves)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_saves_and_exits_with_5(tmp_path, number):
    stopped = Command(tmp_path / "stopped", RUNS["acdc"], save_every_s=0.0, pause_s=0.02)
    whole = Command(tmp_path / "whole", RUNS["acdc"]).start()
    stopped.start().send_after_saves(number, 30)
    last = stopped.finish(5).splitlines()[-1]
    name = signal.Signals(number).name
    assert last.startswith(f"bench: {name}: saved at step ")
    assert last.endswith(" of 138. The same command continues")
    step = int(last.split("step ")[1].split()[0])
    assert f"resumed at step {step} of 138" in Command(stopped.home, RUNS["acdc"]).run()
    whole.finish()
    assert stopped.final_bytes() == whole.final_bytes()


def test_a_finished_run_is_repeated_only_when_asked(tmp_path):
    arguments = [*RUNS["acdc"], "--json"]
    first = Command(tmp_path / "home", arguments)
    assert "epoch 6/6" in first.run()
    (file,) = first.home.glob("runs/*/*/done.json")
    written = file.stat().st_mtime_ns
    again = first.run()
    assert "seed 0: finished before, reused (repeat with --fresh)" in again
    assert "epoch" not in again.partition("{")[0]
    assert file.stat().st_mtime_ns == written
    assert "epoch 6/6" in Command(first.home, [*arguments, "--fresh"]).run()
    assert file.stat().st_mtime_ns > written
    assert len(list(first.home.glob("runs/*/*/done.json"))) == 1


def test_changed_settings_are_another_run(tmp_path):
    for sparsity in ("0.9", "0.8"):
        Command(
            tmp_path, [*RUNS["acdc"], "--name", "one", "--set", f"settings.sparsity={sparsity}"]
        ).run()
    assert len(list(tmp_path.glob("runs/one/*/done.json"))) == 2


def test_fresh_forgets_an_interrupted_round_too(tmp_path, dense):
    arguments = [*RUNS["prune"], "--weights", dense]
    run = Command(tmp_path, arguments, save_every_s=0.0)
    run.start().send_after_saves(signal.SIGKILL, 20)
    run.finish(-signal.SIGKILL)
    assert list(tmp_path.glob("runs/*/*/round01/state.pt"))
    assert "resumed" not in Command(tmp_path, [*arguments, "--fresh"]).run()
