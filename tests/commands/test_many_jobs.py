"""Progress of many jobs: one screen on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from harness.commands.many_jobs import JobLines, JobScreen, watched
from harness.launch import Ending, Event, Update
from tests.launch.tasks import nothing

ONE, TWO = nothing("one seed 0"), nothing("two seed 0")


def story(shown: JobLines) -> None:
    """Two jobs: one dies once and is done, the other fails."""
    shown.begin(3, 1)
    shown.update(Update(ONE.key, stage="train", done=3, total=10, facts={"loss": 0.5}))
    shown.event(ONE, Event(ONE.key, "lost", place="worker 0"))
    shown.update(Update(ONE.key, stage="train", done=4, total=10))
    shown.end(ONE, Ending(ONE.key, "done", {"top1_pct": 97.25}, place="worker 1"))
    shown.end(TWO, Ending(TWO.key, "failed", None, "DataError", "no images", "node ab"))


LINES = [
    "3 jobs, 1 of them done before",
    "one seed 0: lost (worker 0), goes on from its last save",
    "[2/3] one seed 0: done, top-1 97.25 % (worker 1)",
    "[3/3] two seed 0: failed (node ab): no images",
]


def test_without_a_terminal_there_is_a_line_for_each_ending(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with watched() as (shown, _):
        story(shown)
    assert type(shown) is JobLines
    said = capsys.readouterr()
    assert said.err.splitlines() == LINES and said.out == ""


def test_a_screen_has_a_bar_for_all_and_one_for_each_job_that_runs() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=120, color_system=None)
    with Progress(console=console, auto_refresh=False) as bars:
        shown = JobScreen(bars)
        shown.update(Update(ONE.key, stage="train", done=3, total=10))
        shown.update(Update(TWO.key, stage="evaluate", done=1, total=4))
        tasks = [(task.description.strip(), task.completed, task.total) for task in bars.tasks]
        assert tasks == [("train", 3, 10), ("evaluate", 1, 4)]
        story(shown)
        assert [(task.description, task.completed) for task in bars.tasks] == [("all jobs", 3)]
    assert all(line in written.getvalue() for line in LINES)
