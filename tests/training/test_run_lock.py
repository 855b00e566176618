"""Two commands, one run: the second is refused and told what to do; a dead holder holds nothing."""

import os
import signal
import time

import numpy as np
import pytest

from harness.errors import ProtocolError
from harness.training.run_folder import RunFolder, opened
from tests.support.runs import DEADLINE_S, Command

LONG = ["train", "--method", "dense", "--model", "convnet_tiny", "--dataset", "digits"]
LONG += ["--no-tracking", "--set", "epochs=400"]


def started(home):
    """A command at work: its first epoch is saved."""
    command = Command(home, LONG).start()
    end = time.monotonic() + DEADLINE_S
    while not list(home.glob("runs/*/*/state.pt")) and time.monotonic() < end:
        time.sleep(0.01)
    return command


def test_a_second_command_on_the_same_run_is_refused_until_the_first_is_gone(tmp_path):
    first = started(tmp_path)
    try:
        for arguments in (LONG, [*LONG, "--fresh"]):
            second = Command(tmp_path, arguments)
            output = " ".join(second.run(code=2).split())
            assert f"process {first.process.pid} is at work on this very run" in output
            assert f"kill {first.process.pid}" in output
        assert list(tmp_path.glob("runs/*/*/state.pt"))  # --fresh has emptied nothing
    finally:
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.join()
    third = Command(tmp_path, LONG, save_every_s=0.0, strike=(3, signal.SIGTERM))
    assert "resumed at step" in third.run(code=5)


def test_a_run_is_free_again_after_an_error_and_other_runs_always_are(tmp_path):
    folder = RunFolder(tmp_path / "entry" / "seed0", "key")
    with pytest.raises(KeyError), opened(folder, fresh=False):
        with pytest.raises(ProtocolError, match=f"entry/seed0: process {os.getpid()} "):
            with opened(folder, fresh=True):
                raise AssertionError("two at once")
        with opened(RunFolder(tmp_path / "entry" / "seed1", "key"), fresh=False):
            raise KeyError
    with opened(folder, fresh=False) as again:
        assert again.path == folder.path


def test_a_fresh_run_finds_an_empty_folder_and_any_other_a_finished_twin(tmp_path):
    twin = RunFolder(tmp_path / "other" / "seed0", "key")
    twin.finish({}, np.zeros(0, np.uint16), {})
    folder = RunFolder(tmp_path / "entry" / "seed0", "key")
    with opened(folder, fresh=False) as found:
        assert found.path == twin.path
    folder.save_state({})
    with opened(folder, fresh=True) as found:
        assert found.path == folder.path and found.load_state() is None
