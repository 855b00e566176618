"""Progress of many jobs: one screen on a terminal, a line per ending elsewhere; on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.commands.output import console, progress_bars
from harness.commands.visible_text import in_one_line, say_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from harness.launch import Ending, Event, Job, Update, Watching

AGAIN = ("preempted", "lost", "elsewhere", "failed", "busy")


class JobLines:
    """One line for every job that ended or has to be tried again."""

    def __init__(self) -> None:
        self.total = self.ended = 0
        self.started = time.monotonic()

    def begin(self, total: int, done: int) -> None:
        self.total, self.ended = total, done
        before = f", {done} of them done before" if done else ""
        self.say(f"{total} jobs{before}")

    def update(self, update: Update) -> None:
        """News of running jobs leave no trace in a log."""

    def end(self, job: Job, ending: Ending) -> None:
        self.ended += 1
        facts = ending.value or {}
        top1 = f", top-1 {facts['top1_pct']:.2f} %" if "top1_pct" in facts else ""
        place = f" ({ending.place})" if ending.place else ""
        reason = f": {ending.reason}" if ending.state == "failed" else ""
        self.say(f"[{self.ended}/{self.total}] {job.name}: {ending.state}{top1}{place}{reason}")

    def event(self, job: Job, event: Event) -> None:
        if event.state in ("preempted", "lost"):
            self.say(f"{job.name}: {event.state} ({event.place}), goes on from its last save")
        if event.state == "elsewhere":
            self.say(f"{job.name}: not on {event.place}, so elsewhere: {event.reason}")

    def say(self, text: str) -> None:
        say_line(text, err=True)


class JobScreen(JobLines):
    """A bar for the whole, and one below for each job that runs."""

    def __init__(self, rich: Progress) -> None:
        super().__init__()
        self._rich = rich
        self._all: TaskID | None = None
        self._bars: dict[str, TaskID] = {}

    def begin(self, total: int, done: int) -> None:
        super().begin(total, done)
        self._all = self._rich.add_task("all jobs", total=total, completed=done, facts="")

    def update(self, update: Update) -> None:
        if update.key not in self._bars:
            self._bars[update.key] = self._rich.add_task("", total=None, facts="")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in update.facts.items())
        self._rich.update(
            self._bars[update.key],
            description=in_one_line(f"  {update.stage}"),
            total=update.total,
            completed=update.done,
            facts=shown,
        )

    def end(self, job: Job, ending: Ending) -> None:
        super().end(job, ending)
        self._remove(job.key)
        if self._all is not None:
            self._rich.update(self._all, completed=self.ended)

    def event(self, job: Job, event: Event) -> None:
        super().event(job, event)
        if event.state in AGAIN:
            self._remove(job.key)

    def say(self, text: str) -> None:
        self._rich.console.print(in_one_line(text))

    def _remove(self, key: str) -> None:
        if key in self._bars:
            self._rich.remove_task(self._bars.pop(key))


@contextmanager
def watched() -> Iterator[tuple[JobLines, Watching]]:
    """What says how far many jobs are, and the queue's way to it."""
    from harness.launch import Watching

    with _shown() as shown:
        yield shown, Watching(shown.begin, shown.update, shown.end, shown.event)


@contextmanager
def _shown() -> Iterator[JobLines]:
    stderr = console(stderr=True)
    if not stderr.is_terminal:
        yield JobLines()
        return
    with progress_bars(stderr) as rich:
        yield JobScreen(rich)
