"""Commands on a disk that is full at a random moment, and once more with room."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.kills import Verb, verbs
from tests.checkpoints.conftest import files_below
from tests.support.command_line import disorder_of
from tests.support.runs import Command

Limit = Callable[[int], None]
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
            whole[name] = undisturbed(trial.folder, name)
        kilobytes = trial.rng.randint(1, MOST_KB)
        home = trial.folder / f"home{number}"
        if mountable and trial.rng.random() < 0.7:
            _mounted(home, kilobytes)
            told = _wrong(home, name, whole[name])
            _unmounted(home)
            kind = "disk"
        else:
            home.mkdir()
            limit = partial(_no_larger_file, kilobytes)
            told, kind = wrong_under(limit, home, name, whole[name]), "largest file"
        yield told and f"{name}, {kind} of {kilobytes} kB: {told}"


def undisturbed(folder: Path, name: str) -> Any:
    """The product of the verb called `name` in a calm home below `folder`."""
    calm = folder / f"whole-{name.replace(' ', '-')}"
    calm.mkdir()
    _typed(calm, verbs(calm)[name])
    return verbs(calm)[name].product(calm)


def wrong_under(limit: Limit, home: Path, name: str, wanted: Any) -> str:
    """What is wrong after a command under `limit`, and after the same one without it."""
    return _orderly(home, *_typed(home, verbs(home)[name], limit)) or _whole(home, name, wanted)


def _wrong(home: Path, name: str, wanted: Any) -> str:
    """What is wrong after a command on a small disk, and after the same one on a larger."""
    told = _orderly(home, *_typed(home, verbs(home)[name]))
    if not told:
        subprocess.run(["mount", "-o", "remount,size=64m", str(home)], check=True)
    return told or _whole(home, name, wanted)


def _orderly(home: Path, code: int, log: str) -> str:
    return disorder_of(code, "", log) or ("half a file is left" if _half(home) else "")


def _whole(home: Path, name: str, wanted: Any) -> str:
    code, log = _typed(home, verbs(home)[name])
    if code:
        return f"with room, exit code {code}: {log[-300:]}"
    found = verbs(home)[name].product(home)
    return "" if found == wanted else f"with room, {found} instead of {wanted}"


def _half(home: Path) -> list[str]:
    return [name for name in files_below(home) if name.endswith(".part")]


class _Elsewhere(Command):
    """A command whose log lies beside its home, where there is room."""

    @property
    def _log_file(self) -> Path:
        return self.home.with_name(f"{self.home.name}-log-{id(self)}")


def _typed(home: Path, verb: Verb, limit: Limit = lambda pid: None) -> tuple[int, str]:
    """(exit code, output). limit: of the process of a number, set as it begins."""
    command = _Elsewhere(home, verb.arguments, save_every_s=0.0).start()
    process: Any = command.process
    limit(process.pid)
    process.join()
    return process.exitcode, command.log


def _no_larger_file(kilobytes: int, pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (kilobytes * 1024,) * 2)


def _mounted(folder: Path, kilobytes: int) -> bool:
    folder.mkdir()
    typed = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    return subprocess.run(typed, capture_output=True).returncode == 0


def _unmounted(folder: Path) -> bool:
    return subprocess.run(["umount", "--lazy", str(folder)], capture_output=True).returncode == 0
