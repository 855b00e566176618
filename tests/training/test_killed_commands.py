"""Commands that are really killed, and typed again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.runs import DEADLINE_S, Command

ROOT = Path(__file__).parents[2]
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


ALL_PHASES = (1, 2, 40, 33)


@pytest.mark.parametrize(
    ("name", "writes"),
    [
        ("acdc", (1, 40)),
        *(pytest.param(name, ALL_PHASES, marks=pytest.mark.slow) for name in RUNS),
    ],
)
def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path, dense, name, writes):
    arguments = RUNS[name] + (["--weights", dense] if name == "prune" else [])
    whole = Command(tmp_path / "whole", arguments).start()
    home = tmp_path / "killed"
    started = Command(home, arguments).start()
    time.sleep(0.2)  # right after the start: building, loading, perhaps the first steps
    os.kill(started.process.pid, signal.SIGKILL)
    started.process.join()
    # A state after every step; killed inside the first write, then in other phases or rounds.
    for write in writes:
        strike = (write, signal.SIGKILL)
        Command(home, arguments, save_every_s=0.0, strike=strike).run(-signal.SIGKILL)
        assert not list(home.glob("runs/*/*/done.json"))
    last = Command(home, arguments)
    assert "resumed" in last.run()
    whole.finish()
    assert last.final_bytes() == whole.final_bytes()
    assert not list(home.glob("runs/*/*/.*.part"))


@pytest.mark.slow
def test_the_command_typed_in_a_shell_survives_a_kill(tmp_path):
    """As a user types it, without any help: finished epochs are saved, the rest is repeated."""
    arguments = [*RUNS["acdc"], "--set", "batch=4"]
    typed = [sys.executable, "-c", "from cli import main; main()", *arguments]
    home = tmp_path / "shell"
    whole = Command(tmp_path / "whole", arguments).start()
    environment = {**os.environ, "BENCH_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(typed, cwd=ROOT, env=environment) as process:
        end = time.monotonic() + DEADLINE_S
        while not list(home.glob("runs/*/*/state.pt")) and time.monotonic() < end:
            time.sleep(0.001)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    done = subprocess.run(typed, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    whole.finish()
    assert Command(home, arguments).final_bytes() == whole.final_bytes()


LESS_POLITE = [pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP)]


@pytest.mark.parametrize("number", [signal.SIGTERM, *LESS_POLITE])
def test_a_polite_signal_saves_and_exits_with_5(tmp_path, number):
    whole = Command(tmp_path / "whole", RUNS["acdc"]).start()
    home = tmp_path / "stopped"
    strike = (30, number)  # while saving after step 30, the 7th of epoch 2; seen after one more
    output = Command(home, RUNS["acdc"], save_every_s=0.0, strike=strike).run(5)
    name = signal.Signals(number).name
    expected = f"bench: {name}: saved at step 31 of 138. The same command continues"
    assert output.splitlines()[-1] == expected
    last = Command(home, RUNS["acdc"])
    assert "resumed at step 31 of 138" in last.run()
    whole.finish()
    assert last.final_bytes() == whole.final_bytes()


def test_a_signal_before_training_begins_exits_with_5_too(tmp_path):
    code = (
        "import os, signal, harness.training.training_plan as t; b = t.build_model\n"
        "t.build_model = lambda *a: (os.kill(os.getpid(), signal.SIGTERM), b(*a))[1]\n"
        "from cli import main; main()"
    )
    environment = {**os.environ, "BENCH_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *RUNS["acdc"]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 5, done.stderr
    expected = "bench: SIGTERM: stopped outside of training. The same command continues"
    assert done.stderr.splitlines()[-1] == expected


SHORT = ["train", *COMMON, "--method", "magnitude", "--set", "epochs=1"]


@pytest.mark.slow
def test_a_finished_run_is_repeated_only_when_asked(tmp_path):
    arguments = [*SHORT, "--set", "settings.sparsity=0.9", "--json"]
    first = Command(tmp_path / "home", arguments)
    assert "epoch 1/1" in first.run()
    (file,) = first.home.glob("runs/*/*/done.json")
    written = file.stat().st_mtime_ns
    again = first.run()
    assert "seed 0: finished before, reused (repeat with --fresh)" in again
    assert "epoch" not in again.partition("{")[0]
    assert file.stat().st_mtime_ns == written
    assert "epoch 1/1" in Command(first.home, [*arguments, "--fresh"]).run()
    assert file.stat().st_mtime_ns > written
    assert len(list(first.home.glob("runs/*/*/done.json"))) == 1


@pytest.mark.slow
def test_changed_settings_are_another_run(tmp_path):
    for sparsity in ("0.9", "0.8"):
        Command(tmp_path, [*SHORT, "--name", "one", "--set", f"settings.sparsity={sparsity}"]).run()
    assert len(list(tmp_path.glob("runs/one/*/done.json"))) == 2


@pytest.mark.slow
def test_fresh_forgets_an_interrupted_round_too(tmp_path, dense):
    arguments = [*RUNS["prune"], "--weights", dense]
    strike = (20, signal.SIGKILL)
    Command(tmp_path, arguments, save_every_s=0.0, strike=strike).run(-signal.SIGKILL)
    assert list(tmp_path.glob("runs/*/*/round01/state.pt"))
    assert "resumed" not in Command(tmp_path, [*arguments, "--fresh"]).run()


@pytest.mark.slow
def test_a_training_on_a_folder_of_pictures_survives_kills(tmp_path):
    from tests.data.test_own_data import pictures

    folder = pictures(tmp_path / "pets", per_class=8)
    train = ["train", "--method", "dense", "--model", "convnet_tiny", "--no-tracking"]
    arguments = [*train, "--dataset", f"folder:{folder}", "--set", "epochs=4", "--set", "batch=4"]
    whole = Command(tmp_path / "whole", arguments).start()
    home = tmp_path / "killed"
    for write in (9, 14):
        strike = (write, signal.SIGKILL)
        Command(home, arguments, save_every_s=0.0, strike=strike).run(-signal.SIGKILL)
        assert not list(home.glob("runs/*/*/done.json"))
    last = Command(home, arguments)
    assert "resumed" in last.run()
    whole.finish()
    assert last.final_bytes() == whole.final_bytes()
