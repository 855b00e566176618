"""A session on a lent GPU: what is repeated, what goes on, and what its outcomes say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest
import torch

import cli
from benchmarks.gpu_session import (
    LEAST_S,
    Outcome,
    Step,
    environment,
    outcome,
    ran,
    row_steps,
    session,
    steps,
)
from harness.registry import load

TODO = [Step(name, 100, ()) for name in ("tests", "latency", "training")]


class Machine:
    """Takes 90 s for every step, and ends the one called `bad` badly."""

    def __init__(self, bad: str = "") -> None:
        self.bad, self.now, self.limits = bad, 0.0, {}

    def run(self, step: Step, limit_s: float) -> Outcome:
        self.now += 90
        self.limits[step.name] = limit_s
        return Outcome(step.name, "failed" if step.name == self.bad else "ok", 90.0)


def names(machine: Machine, folder: Path, minutes: float) -> list[str]:
    return [each.step for each in session(TODO, folder, minutes, machine.run, lambda: machine.now)]


def test_an_interrupted_session_goes_on_where_it_stopped(tmp_path: Path) -> None:
    assert names(Machine(), tmp_path, minutes=3) == ["tests", "latency"]
    assert names(Machine(), tmp_path, minutes=3) == ["training"]
    assert names(Machine(), tmp_path, minutes=3) == []


def test_what_failed_is_tried_again_and_costs_no_other_step(tmp_path: Path) -> None:
    assert names(Machine(bad="tests"), tmp_path, minutes=10) == ["tests", "latency", "training"]
    assert json.loads((tmp_path / "tests.json").read_text())["status"] == "failed"
    assert names(Machine(), tmp_path, minutes=10) == ["tests"]


def test_a_step_gets_its_budget_or_what_is_left_with_time_to_save(tmp_path: Path) -> None:
    machine = Machine()
    names(machine, tmp_path, minutes=3)
    assert machine.limits == {"tests": 100, "latency": 90 - LEAST_S / 2}


@pytest.mark.parametrize(
    ("code", "late", "status"),
    [(0, False, "ok"), (3, False, "ok"), (4, False, "skipped"), (1, False, "failed")]
    + [(5, False, "stopped"), (-15, True, "stopped"), (-9, True, "stopped")],
)
def test_exit_codes_become_outcomes(code: int, late: bool, status: str) -> None:
    made = outcome("x", code, late, 1.0, b'{"top1_pct": 90}', b"some progress\nthe last line\n")
    assert made.status == status
    if status == "ok":
        assert made.found == {"top1_pct": 90}
    else:
        assert made.said == "the last line"


def test_a_process_is_asked_to_save_at_its_limit() -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit('saved at step 3'))\n"
        "time.sleep(60)"
    )
    made = ran(Step("x", 1, (sys.executable, "-S", "-c", code)), 0.5)
    assert (made.status, made.said) == ("stopped", "saved at step 3")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    with pytest.raises(SystemExit, match="^no CUDA device: torch .* sees none") as refused:
        environment("cuda")
    assert "\n" not in str(refused.value)


def test_rows_come_in_order_of_figures_per_pixel() -> None:
    rows = [step.name for step in row_steps(load(), "cuda")]
    assert rows and len(set(rows)) == len(rows)
    cifar = next(i for i, name in enumerate(rows) if "resnet20-cifar10" in name)
    imagenet = next(i for i, name in enumerate(rows) if name.startswith("row-acdc-resnet50"))
    assert cifar < imagenet


def test_every_command_of_a_session_is_one_that_bench_takes() -> None:
    commands = [s.command[3:] for s in steps("cpu", small=True) if s.command[2] == "cli"]
    assert len(commands) == 3
    commands += [s.command[3:] for s in steps("cuda", small=False) if s.command[2] == "cli"]
    above = click.Context(cli.main, **cli.main.context_settings)
    for words in commands:
        command = cli.main.get_command(above, words[0])
        assert command is not None
        assert command.make_context(words[0], list(words[1:]), parent=above).params
