"""Many jobs on one executor until each has its ending: dependencies, retries, one bad job alone.

What is retried, and how often:
preempted, busy   always: it goes on from its saved state, or waits for whoever is at work on it
elsewhere         always: an executor says so once for each of its nodes, and then "failed"
lost              while it gets further; after `DEATHS` deaths at the same place it has failed
failed            `ATTEMPTS` times in all, but once where the same seed would fail the same way
                  (settings, protocol, registry, numbers: see `FINAL`)
A job whose predecessor failed fails with that reason. All others go on.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from harness.errors import Preempted, ProtocolError
from harness.launch.executor import Executor
from harness.launch.jobs import Ending, Job, Update
from harness.launch.journal import Event, Journal
from harness.training import StopRequest, deferred, signal_name

ATTEMPTS = 2
DEATHS = 3
# Errors that another attempt, on another machine even, would meet again.
FINAL = (
    "ProtocolError",
    "SettingsError",
    "RegistryError",
    "MetricError",
    "KeyMismatch",
    "Cancelled",
)
CANCELLED = "left out by bench runs cancel"
BUSY_S = 1.0  # before a run that somebody else works on is asked for again
POLL_S = 0.5
SAVING_S = 120.0  # that running jobs have to save when the queue is stopped


@dataclass(frozen=True, slots=True)
class Watching:
    """Who hears of a queue: its start, running jobs' news, every ending and every event.

    began: how many jobs there are, and how many of them were done before.
    """

    began: Callable[[int, int], object] = lambda total, done: None

    update: Callable[[Update], object] = lambda update: None
    ended: Callable[[Job, Ending], object] = lambda job, ending: None
    event: Callable[[Job, Event], object] = lambda job, event: None


@dataclass
class Queue:
    """Runs jobs to their endings. max_jobs: how many at the same time; None = as many as fit.

    still_there: whether what a job left, that the journal has as done, has not been deleted since.
    Of what is taken over from the journal `watching` does not hear. cancelled: keys of jobs that
    somebody wants left out.
    """

    executor: Executor
    journal: Journal = field(default_factory=Journal)
    watching: Watching = Watching()
    max_jobs: int | None = None
    still_there: Callable[[Ending], bool] = lambda ending: True
    cancelled: Callable[[], Collection[str]] = frozenset
    _jobs: dict[str, Job] = field(default_factory=dict)
    _endings: dict[str, Ending] = field(default_factory=dict)
    _ready: deque[str] = field(default_factory=deque)
    _missing: dict[str, int] = field(default_factory=dict)  # predecessors that are not done
    _followers: dict[str, list[str]] = field(default_factory=dict)
    _later: list[tuple[float, str]] = field(default_factory=list)  # a heap
    _untold: deque[Ending] = field(default_factory=deque)
    _running: set[str] = field(default_factory=set)
    _heard: set[str] = field(default_factory=set)  # running ones that have said something
    _attempts: Counter[str] = field(default_factory=Counter)
    _deaths: Counter[str] = field(default_factory=Counter)
    _furthest: dict[str, int] = field(default_factory=dict)

    def run(self, jobs: Iterable[Job]) -> Mapping[str, Ending]:
        """The ending of every job by key; see `coming`."""
        for _ in self.coming(jobs):
            pass
        return self._endings

    def coming(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Ending]]:
        """Every job with its ending, "done" or "failed", as it is known; equal jobs run once.

        A job that the journal has as done is not run again, and comes first. Raises Preempted
        after SIGTERM or Ctrl-C, once the running jobs have saved.
        """
        for job in jobs:
            self._jobs.setdefault(job.key, job)
        self._link()
        self.watching.began(len(self._jobs), len(self._endings))
        with deferred() as stop:
            yield from self._news()
            while len(self._endings) < len(self._jobs):
                self._drop(self.cancelled())
                self._submit()
                for key in self.executor.poll(self._hear, POLL_S):
                    self._judge(self.executor.collect(key))
                if stop.number:
                    self._leave(stop)
                yield from self._news()

    def _news(self) -> Iterator[tuple[Job, Ending]]:
        """Endings since the last time."""
        while self._untold:
            ending = self._untold.popleft()
            yield self._jobs[ending.key], ending

    def _drop(self, keys: Collection[str]) -> None:
        """End what somebody cancelled: what runs saves first."""
        for key in keys:
            if key in self._running:
                self.executor.cancel(key)
            elif key in self._jobs and key not in self._endings:
                self._judge(Ending(key, "failed", None, "Cancelled", CANCELLED))

    def _link(self) -> None:
        """Take over what is done, and put what waits for nothing in line."""
        for job in self._jobs.values():
            unknown = [key for key in job.after if key not in self._jobs]
            if unknown:
                msg = f"{job.name} waits for a job that is not in the queue: {unknown[0][:12]}"
                raise ProtocolError(msg)
            for key in job.after:
                self._followers.setdefault(key, []).append(job.key)
        for key in self._jobs:
            done = self.journal.done(key)
            if done is not None and self.still_there(done):
                self._endings[key] = done
                self._untold.append(done)
        for key, job in self._jobs.items():
            if key not in self._endings:
                self._missing[key] = sum(need not in self._endings for need in job.after)
                if not self._missing[key]:
                    self._ready.append(key)

    def _submit(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[1])
        while self._ready and (self.max_jobs is None or len(self._running) < self.max_jobs):
            key = self._ready.popleft()
            if key in self._endings or key in self._running:
                continue
            self._attempts[key] += 1
            self._running.add(key)
            self._note(Event(key, "queued", self._attempts[key]))
            try:
                self.executor.submit(self._jobs[key])
            except ProtocolError as error:
                self._judge(Ending(key, "failed", None, "ProtocolError", str(error)))

    def _hear(self, update: Update) -> None:
        if update.done > self._furthest.get(update.key, -1):
            self._furthest[update.key] = update.done
            self._deaths[update.key] = 0
        if update.key in self._running and update.key not in self._heard:
            self._heard.add(update.key)
            self._note(Event(update.key, "running", self._attempts[update.key], 0.0, update.place))
        self.watching.update(update)

    def _judge(self, ending: Ending) -> None:
        """What an ending of an attempt means for its job."""
        key = ending.key
        self._running.discard(key)
        self._heard.discard(key)
        if ending.state == "preempted" and key in self.cancelled():
            ending = replace(ending, state="failed", error="Cancelled", reason=CANCELLED)
        if ending.state == "lost":
            self._deaths[key] += 1
            if self._deaths[key] >= DEATHS:
                reason = f"{ending.reason}, {DEATHS} times at the same place (out of memory?)"
                ending = replace(ending, state="failed", error="lost", reason=reason)
        elif ending.state == "failed":
            if ending.error not in FINAL and self._attempts[key] < ATTEMPTS:
                self._again(ending, at_once=True)
                return
        if ending.state in ("done", "failed"):
            self._record(ending)
            self._end(ending)
        else:
            if ending.state in ("busy", "elsewhere"):
                self._attempts[key] -= 1
            self._again(ending, at_once=ending.state != "busy")

    def _again(self, ending: Ending, *, at_once: bool) -> None:
        if ending.state != "busy":
            self._record(ending)
        if at_once:
            self._ready.appendleft(ending.key)
        else:
            heapq.heappush(self._later, (time.monotonic() + BUSY_S, ending.key))

    def _end(self, ending: Ending) -> None:
        """The job has its ending; whoever waited for it may begin, or cannot."""
        if ending.key in self._endings:
            return
        self._endings[ending.key] = ending
        self._untold.append(ending)
        self.watching.ended(self._jobs[ending.key], ending)
        for key in self._followers.get(ending.key, ()):
            if ending.state == "failed":
                name = self._jobs[ending.key].name
                reason = f"it needs {name}, which failed: {ending.reason}"
                follower = Ending(key, "failed", None, ending.error, reason)
                self._record(follower)
                self._end(follower)
                continue
            self._missing[key] -= 1
            if not self._missing[key]:
                self._ready.append(key)

    def _record(self, ending: Ending) -> None:
        key, state = ending.key, ending.state
        facts = (ending.place, ending.error, ending.reason, ending.value)
        self._note(Event(key, state, self._attempts[key], 0.0, *facts))

    def _note(self, event: Event) -> None:
        self.journal.add(event)
        self.watching.event(self._jobs[event.key], event)

    def _leave(self, stop: StopRequest) -> None:
        """Let running jobs save, then give up; what is done stays done."""
        for key in list(self._running):
            self.executor.cancel(key)
        deadline = time.monotonic() + SAVING_S
        while self._running and time.monotonic() < deadline:
            for key in self.executor.poll(self._hear, POLL_S):
                ending = self.executor.collect(key)
                self._running.discard(key)
                self._record(ending)
                if ending.state == "done":
                    self._endings[key] = ending
                    self.watching.ended(self._jobs[key], ending)
        left = len(self._jobs) - len(self._endings)
        raise Preempted(
            f"{signal_name(stop.number)}: running jobs have saved; {left} of {len(self._jobs)} are "
            "left. The same command continues"
        )
