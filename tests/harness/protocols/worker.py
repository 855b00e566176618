"""What runs in the processes that the tests start, and kill."""

import dataclasses
import os
import sys
import time

# Loaded once, by the process that all others are forked from: importing is most of a short run.
import fvcore.nn  # noqa: F401
import pandas  # noqa: F401
import rich.console  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo  # noqa: F401
import torch.distributed.nn  # noqa: F401

import cli.prune
import cli.reproduce
import cli.train  # noqa: F401
import harness.reports.tables
import harness.tracking
import harness.training  # noqa: F401
from cli import main, schedule


def bench(arguments, home, log, save_every_s, pause_s):
    """`bench ARGUMENTS`; output goes to the file `log`, the exit code is the process's.

    save_every_s: seconds between saves inside an epoch; None = as the command does.
    pause_s: seconds after each save, so that somebody has the time to send a signal.
    """
    os.environ["BENCH_HOME"] = str(home)
    torch.set_num_threads(1)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if save_every_s is not None:
        _save_every(save_every_s)
    if pause_s:
        _pause_after_saves(pause_s)
    sys.argv = ["bench", *arguments]
    main(arguments)


def _save_every(seconds):
    chosen = schedule.chosen_training
    schedule.chosen_training = lambda *given, **named: dataclasses.replace(
        chosen(*given, **named), save_every_s=seconds
    )


def _pause_after_saves(seconds):
    from harness.protocols.state import RunFolder

    save = RunFolder.save_state

    def save_and_wait(self, state):
        save(self, state)
        time.sleep(seconds)

    RunFolder.save_state = save_and_wait
