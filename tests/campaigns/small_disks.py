"""Commands on a disk that is full at a random moment, and once more with room."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.kills import Verb, verbs
from tests.checkpoints.conftest import files_below
from tests.support.command_line import disorder_of
from tests.support.runs import Command

MOST_KB = 400  # what the hungriest of the verbs writes below its home, roughly
VERBS = ("train acdc", "prune in rounds", "reproduce", "pull", "allocation", "export")


@campaign(count=60, sample=1 if hasattr(resource, "prlimit") else 0)
def small_disks(trial: Trial) -> Iterator[str]:
    """Verbs whose files may grow to a random size and no further, a full disk of random size where
    one can be mounted: one line, a documented exit code, only whole files; then, with room, the
    product of an undisturbed run.
    """
    whole: dict[str, Any] = {}
    mountable = _mounted(trial.folder / "disk", 64) and _unmounted(trial.folder / "disk")
    for number in range(trial.count):
        name = VERBS[number % len(VERBS)]
        if name not in whole:
            calm = trial.folder / f"whole-{name.replace(' ', '-')}"
            calm.mkdir()
            _typed(calm, verbs(calm)[name])
            whole[name] = verbs(calm)[name].product(calm)
        kilobytes = trial.rng.randint(1, MOST_KB)
        home = trial.folder / f"home{number}"
        if mountable and trial.rng.random() < 0.7:
            _mounted(home, kilobytes)
            told = _wrong(home, name, whole[name], None)
            _unmounted(home)
            kind = "disk"
        else:
            home.mkdir()
            told, kind = _wrong(home, name, whole[name], kilobytes), "largest file"
        yield told and f"{name}, {kind} of {kilobytes} kB: {told}"


def _wrong(home: Path, name: str, wanted: Any, largest_kb: int | None) -> str:
    """What is wrong after a command without room and one with it. largest_kb: None = a disk."""
    verb = verbs(home)[name]
    code, log = _typed(home, verb, largest_kb)
    told = disorder_of(code, "", log)
    told = told or ("half a file is left" if _half(home) else "")
    if told:
        return told
    if largest_kb is None:
        subprocess.run(["mount", "-o", "remount,size=64m", str(home)], check=True)
    code, log = _typed(home, verb)
    if code:
        return f"with room, exit code {code}: {log[-300:]}"
    found = verb.product(home)
    return "" if found == wanted else f"with room, {found} instead of {wanted}"


def _half(home: Path) -> list[str]:
    return [name for name in files_below(home) if name.endswith(".part")]


class _Elsewhere(Command):
    """A command whose log lies beside its home, where there is room."""

    @property
    def _log_file(self) -> Path:
        return self.home.with_name(f"{self.home.name}-log-{id(self)}")


def _typed(home: Path, verb: Verb, largest_kb: int | None = None) -> tuple[int, str]:
    """(exit code, output); largest_kb: no file may grow beyond that."""
    command = _Elsewhere(home, verb.arguments, save_every_s=0.0).start()
    process: Any = command.process
    if largest_kb is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (largest_kb * 1024,) * 2)
    process.join()
    return process.exitcode, command.log


def _mounted(folder: Path, kilobytes: int) -> bool:
    folder.mkdir()
    typed = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    return subprocess.run(typed, capture_output=True).returncode == 0


def _unmounted(folder: Path) -> bool:
    return subprocess.run(["umount", "--lazy", str(folder)], capture_output=True).returncode == 0
