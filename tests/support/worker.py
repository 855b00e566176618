"""What runs in the processes that the tests start, and kill."""

import dataclasses
import itertools
import os

# Loaded once, by the process that all others are forked from: importing is most of a short run.
import fvcore.nn  # noqa: F401
import pandas  # noqa: F401
import rich.console  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo  # noqa: F401
import torch.distributed.nn  # noqa: F401

import harness.commands.prune
import harness.commands.reproduce
import harness.commands.train  # noqa: F401
import harness.reports.mlflow
import harness.reports.printed_verdicts
import harness.training  # noqa: F401
from cli import main
from harness.commands import schedule


def bench(arguments, home, log, save_every_s, strike):
    """`bench ARGUMENTS`; output goes to the file `log`, the exit code is the process's.

    save_every_s: seconds between saves inside an epoch; None = as the command does.
    strike: (n, signal): the process sends itself `signal` in the middle of its n-th write to disk,
    when the new state lies complete beside the old one; None = it is left in peace. What is written
    for people only, some of it by the clock, does not count.
    """
    os.environ["BENCH_HOME"] = str(home)
    torch.set_num_threads(1)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if save_every_s is not None:
        _save_every(save_every_s)
    if strike is not None:
        _strike_at(*strike, home)
    main(arguments)


def _save_every(seconds):
    chosen = schedule.chosen_training

    def with_clock(*given, **named):
        return dataclasses.replace(chosen(*given, **named), save_every_s=seconds)

    for command in (schedule, harness.commands.reproduce):
        command.chosen_training = with_clock


def _strike_at(write, number, home):
    flush, done = os.fsync, itertools.count(1)

    def flush_and_strike(file):
        flush(file)
        if not _for_people(file, home) and next(done) == write:
            os.kill(os.getpid(), number)

    os.fsync = flush_and_strike


def _for_people(file, home):
    """Whether the open `file` becomes one that no training reads."""
    opened = os.fstat(file)
    names = ("run.json", "run.yaml", "progress.json")
    parts = (part for name in names for part in home.glob(f"runs/*/*/.{name}.*.part"))
    return any(os.path.samestat(opened, part.stat()) for part in parts)
