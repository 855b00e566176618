"""Many processes at work in one home at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.results.store import load_all
from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.kills import ENTRY, mirrored
from tests.support.runs import Command

TRAIN = ["train", "--model", "convnet_tiny", "--dataset", "digits", "--set", "epochs=1"]
PROCESSES = 16


@campaign(count=16, sample=4)
def one_home(trial: Trial) -> Iterator[str]:
    """16 processes at a time in one fresh home, training, evaluating, pulling, reading, mirroring:
    each ends well, each result is stored once and mirrored once, nothing is left half-written.
    """
    for start in range(0, trial.count, PROCESSES):
        home = trial.folder / f"home{start}"
        some = [_arguments(number) for number in range(min(PROCESSES, trial.count - start))]
        started = [Command(home, words).start() for words in some]
        for command in started:
            command.process.join()  # type: ignore[attr-defined]
        saved = sum(words[0] in ("train", "reproduce") for words in some)
        told = _wrong(home, saved)
        for command in started:
            code = command.process.exitcode  # type: ignore[attr-defined]
            yield f"{command.arguments}: exit code {code}: {command.log[-400:]}" if code else told
            told = ""


def _arguments(number: int) -> list[str]:
    """Half of the processes store a result of their own; the others read what there is."""
    method = ("dense", "str")[number // 4 % 2]
    jobs: tuple[list[str], ...] = (
        [*TRAIN, "--method", method, "--name", f"mine-{number}"],
        ["reproduce", ENTRY],
        ["pull", ENTRY],
        (["list"], ["sync"], ["show", ENTRY], ["claims"])[number // 4 % 4],
    )
    return jobs[number % 4]


def _wrong(home: Any, saved: int) -> str:
    results = list(load_all(home / "reports" / "results"))
    if len(results) != saved:
        return f"{len(results)} results stored by {saved} commands"
    left = [str(path) for path in home.rglob("*.part")]
    if left:
        return f"left behind: {left}"
    return "" if mirrored(home) else "MLflow does not hold each result once"
