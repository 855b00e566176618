"""Commands that may take little more memory than they begin with, and once more without a limit."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.small_disks import VERBS, undisturbed, wrong_under

MOST_KB = 160_000  # beyond what the process has when it begins


@campaign(count=60, sample=0)  # each try is a process or two
def small_memories(trial: Trial) -> Iterator[str]:
    """Verbs under a limit of the system on their memory, random from hardly any to enough: one
    line, a documented exit code, only whole files; then, without it, an undisturbed run's product.
    """
    whole: dict[str, Any] = {}
    for number in range(trial.count):
        name = VERBS[-1 - number % len(VERBS)]  # a short one first
        if name not in whole:
            whole[name] = undisturbed(trial.folder, name)
        home = trial.folder / f"home{number}"
        home.mkdir()
        kilobytes = trial.rng.randint(1, MOST_KB)
        told = wrong_under(partial(_no_more_memory, kilobytes), home, name, whole[name])
        yield told and f"{name}, {kilobytes:,} kB more: {told}"


def _no_more_memory(kilobytes: int, pid: int) -> None:
    """Limit the writable memory of a process to what it has and `kilobytes` more."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [now] = [int(line.split()[1]) for line in lines if line.startswith("VmData")]
    resource.prlimit(pid, resource.RLIMIT_DATA, ((now + kilobytes) * 1024,) * 2)
