"""Mutants of one file against the tests beside it, each in a forked process of its own.

Imports and collection are paid once, in one pytest session that forks instead of running tests.
First a child runs everything unchanged and writes down how long each test took, which functions of
the file it entered, and what it imported. Then every mutant: inside a function it is swapped in as
a code object and meets the tests that enter that function, fastest first, then the others beside
them. What runs at import is imported from its changed source and meets every test.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.machinery import SourceFileLoader
from itertools import accumulate
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import hypothesis
import pytest

from tests.campaigns.mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]
OURS = ("cli", "harness", "methods", "tests", "benchmarks")
BUDGET_S = 2.0  # of processor time, watched: the tests that a mutant meets, fastest first
PATIENCE_S = 1.0  # on top of three times that: an endless loop
MEMORY_BYTES = 6 * 1024**3
NOTICED, SURVIVED = 1, 0  # exit codes of a child

# A counterexample is enough: it need not be the smallest.
hypothesis.settings.register_profile(
    "mutants",
    derandomize=True,
    deadline=None,
    max_examples=50,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


class BrokenTests(Exception):
    """The tests fail before anything was changed."""


def survivors(file: Path, tests: Sequence[str], mutants: Sequence[Mutant]) -> list[Mutant]:
    """The mutants of `file` (below the repository) that none of `tests` (its paths) notices.

    They run in an interpreter of their own, whose imports are watched. Raises BrokenTests when the
    tests fail without any change.
    """
    with tempfile.TemporaryDirectory() as folder:  # with what ended children leave behind
        asked, told = Path(folder) / "asked.pickle", Path(folder) / "told.json"
        asked.write_bytes(pickle.dumps((ROOT / file, tests, mutants)))
        words = [sys.executable, "-m", "tests.campaigns.mutant_runs", str(asked), str(told)]
        done = subprocess.run(
            words, cwd=ROOT, env={**os.environ, "TMPDIR": folder}, capture_output=True, text=True
        )
        if done.returncode:
            raise BrokenTests(f"{file}: {done.stderr[-2000:]}")
        return [mutants[place] for place in json.loads(told.read_text())]


def _main(asked: Path, told: Path) -> None:
    file, tests, mutants = pickle.loads(asked.read_bytes())
    session = _Session(file, mutants)
    _pytest(tests, session)
    if session.failure:
        sys.exit(session.failure)
    left = [place for place, mutant in enumerate(mutants) if mutant in session.left]
    told.write_text(json.dumps(left))


def _pytest(paths: Iterable[str], plugin: object) -> int:
    words = "-o addopts= -p no:terminal -p no:cacheprovider -p no:xdist -s --assert=plain"
    profile = "--hypothesis-profile=mutants"
    marks = "not realdata and not slow and not gpu and not network and not browser"
    return pytest.main([*words.split(), profile, "-m", marks, *paths], plugins=[plugin])


def _child(work: Callable[[], object], cpu_s: float = 0) -> int:
    """The exit code of a fork that does `work` in silence; 128 + the signal that ended it.

    cpu_s: its limit, with ten times as much on the clock for one that waits; 0 = none.
    """
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgrp()
            signal.setitimer(signal.ITIMER_PROF, cpu_s)
            signal.setitimer(signal.ITIMER_REAL, 10 * cpu_s)
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            work()
        finally:
            os._exit(NOTICED)  # whatever ended it, it did not end the tests
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what the tests started
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


@dataclass(frozen=True, slots=True)
class _Baseline:
    """What the tests do with the file as it is."""

    seconds: dict[str, float]  # test -> processor time it took
    entered: dict[str, list[int]]  # test -> first lines of the file's functions that it entered
    on_import: list[int]  # functions that ran while tests were collected
    imported: list[str]
    failed: str


class _Session:
    """The pytest plugin that takes the place of the test loop."""

    def __init__(self, file: Path, mutants: Iterable[Mutant]) -> None:
        self.file, self.source = file, file.read_text()
        self.mutants = mutants
        self.left: list[Mutant] = []
        self.failure = "its tests cannot be collected"
        self.recorder = _Recorder(file)
        sys.setprofile(self.recorder.profile)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        sys.setprofile(None)
        try:
            self._prepare()
            self.left = [mutant for mutant in self.mutants if not self._noticed(mutant)]
            self.failure = ""
        except Exception as error:  # pytest would swallow it
            self.failure = str(error) or repr(error)
        return True

    def _prepare(self) -> None:
        with tempfile.NamedTemporaryFile("r") as told:
            _child(lambda: self.recorder.run(list(self.items.values()), Path(told.name)))
            written = Path(told.name).read_text() or '{"failed": "they do not end"}'
        if json.loads(written)["failed"]:
            raise BrokenTests(json.loads(written)["failed"])
        self.baseline = _Baseline(**json.loads(written))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in self.baseline.imported:
                importlib.import_module(name)
            self.functions = [
                thing
                for thing in gc.get_objects()
                if type(thing) is FunctionType and thing.__code__.co_filename == str(self.file)
            ]
        gc.collect()
        gc.freeze()

    def _noticed(self, mutant: Mutant) -> bool:
        inside, entered = set(mutant.functions), self.baseline.entered
        entering = [test for test, lines in entered.items() if inside & set(lines)]
        if not inside or inside & set(self.baseline.on_import):
            return self._fails(lambda tests: self._reimported(mutant, tests), list(entered))
        # Fixtures that tests share enter it once, in the first of them: the others come after.
        files = {test.split("::")[0] for test in entering}
        others = [t for t in entered if t.split("::")[0] in files and t not in entering]
        swapped = partial(self._swapped, mutant)
        return self._fails(swapped, entering) or self._fails(swapped, others)

    def _fails(self, run: Callable[[list[str]], object], tests: list[str]) -> bool:
        seconds = self.baseline.seconds
        ordered = sorted(tests, key=lambda test: seconds[test])
        spent = list(accumulate(seconds[test] for test in ordered))
        fast = ordered[: bisect_right(spent, BUDGET_S)]
        limit = PATIENCE_S + 3 * BUDGET_S
        return bool(fast) and _child(lambda: run(fast), limit) != SURVIVED

    def _swapped(self, mutant: Mutant, tests: list[str]) -> None:
        """Run with the code of the changed source in every function of the file."""
        changed = {
            (code.co_qualname, code.co_firstlineno): code for code in _codes(self._compiled(mutant))
        }
        for function in self.functions:
            code = function.__code__
            function.__code__ = changed[code.co_qualname, code.co_firstlineno]
        _run([self.items[test] for test in tests])
        os._exit(SURVIVED)

    def _reimported(self, mutant: Mutant, tests: list[str]) -> None:
        """Forget our modules, let the file be what the mutant makes of it, and run."""
        changed, path = self._compiled(mutant), str(self.file)
        usual = SourceFileLoader.get_code
        SourceFileLoader.get_code = (  # type: ignore[method-assign]
            lambda loader, name: changed if loader.path == path else usual(loader, name)
        )
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        _pytest(dict.fromkeys(test.split("::")[0] for test in tests), _Chosen(tests))

    def _compiled(self, mutant: Mutant) -> CodeType:
        text = mutant.applied(self.source)
        return compile(text, str(self.file), "exec", dont_inherit=True)


class _Recorder:
    """What each test enters of one file, how long it takes, and whether it fails."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)
        self.seconds: dict[str, float] = {}
        self.entered: dict[str, set[int]] = {}
        self.on_import: set[int] = set()
        self.now = self.on_import
        self.failed = ""
        self.modules = set(sys.modules)

    def profile(self, frame: Any, event: str, argument: object) -> None:
        if event == "call" and frame.f_code.co_filename == self.file:
            self.now.add(frame.f_code.co_firstlineno)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = f"{report.nodeid} fails unchanged: {report.longreprtext[-1000:]}"

    def run(self, items: list[pytest.Item], told: Path) -> None:
        """Run the tests and write the baseline."""
        items[0].config.pluginmanager.register(self)
        sys.setprofile(self.profile)
        for item, following in zip(items, [*items[1:], None], strict=True):
            self.now = self.entered.setdefault(item.nodeid, set())
            begun = time.process_time()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
            self.seconds[item.nodeid] = time.process_time() - begun
        sys.setprofile(None)
        loaded = {name: module for name, module in sys.modules.items() if name not in self.modules}
        facts = {
            "seconds": self.seconds,
            "entered": {test: sorted(lines) for test, lines in self.entered.items()},
            "on_import": sorted(self.on_import),
            "imported": [name for name, m in loaded.items() if getattr(m, "__spec__", None)],
            "failed": self.failed,
        }
        told.write_text(json.dumps(facts))


class _Chosen:
    """The pytest plugin of a fresh session: only these tests, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.place = {test: place for place, test in enumerate(tests)}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        chosen = [item for item in session.items if item.nodeid in self.place]
        _run(sorted(chosen, key=lambda item: self.place[item.nodeid]))
        os._exit(SURVIVED)


class _FirstFailure:
    """The pytest plugin that ends a child at its first failure."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os._exit(NOTICED)


def _run(items: list[pytest.Item]) -> None:
    items[0].config.pluginmanager.register(_FirstFailure())
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
