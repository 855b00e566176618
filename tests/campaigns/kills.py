"""Commands killed by SIGKILL at random moments, typed again until they finish."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.reports.mlflow import ID_TAG
from harness.results.store import load_all
from tests.campaigns.campaign import Trial, campaign
from tests.support.runs import Command

MOST_KILLS = 6  # of one command, before it is left in peace
COMMON = ["--model", "convnet_tiny", "--dataset", "digits", "--no-tracking"]
TRAIN = ["train", *COMMON, "--set", "epochs=4"]  # of 23 steps each
DENSE = "dense-convnet-tiny-digits"
START = ["--start", DENSE]
ENTRY = "str-convnet-tiny-digits-90"
Product = Callable[[Path], Any]


@dataclass(frozen=True)
class Verb:
    """product: of the home after the command, the same however often it was killed."""

    arguments: list[str]
    product: Product
    latest: int  # write to disk at which it is killed at the latest
    longest_s: float = 2.0  # after which it is killed at the latest, if not at a write


Known = Callable[[Path], dict[str, Verb]]  # home -> verbs by name


def trained(home: Path) -> Any:
    """Bits of all weights, and every result: a lost or doubled one makes another list."""
    files = sorted(home.glob("runs/*/*/*.safetensors"))
    weights = {str(file.relative_to(home)): _digest(file) for file in files}
    return weights, _results(home)


def evaluated(home: Path) -> Any:
    """What was measured; a command that was killed after saving may have measured it twice."""
    return sorted(set(_results(home)))


def stored(home: Path) -> Any:
    return {file.name: _digest(file) for file in sorted(home.glob("checkpoints/*/*.safetensors"))}


def written(home: Path) -> Any:
    return {file.name: _digest(file) for file in sorted(home.glob("out.*"))}


def mirrored(home: Path) -> Any:
    """Ids in MLflow: each stored result once."""
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        rows = database.execute("SELECT value FROM tags WHERE key = ?", (ID_TAG,)).fetchall()
    ours = sorted(result.result_id for result in load_all(home / "reports" / "results"))
    return ours == sorted(value for (value,) in rows)


def verbs(home: Path) -> dict[str, Verb]:
    """Every verb that works for long; `home`: where its output files go."""
    rounds = ["--target", "0.9", "--rounds", "3", "--finetune", "1ep"]
    acdc = ["--method", "acdc", "--set", "settings.sparsity=0.9"]
    gmp = ["--method", "gmp", "--set", "settings.sparsity=0.8", "--seeds", "2"]
    return {
        "train acdc": Verb([*TRAIN, *acdc], trained, 70),
        "train str": Verb([*TRAIN, "--method", "str"], trained, 70),
        "train gmp, two seeds": Verb([*TRAIN, *gmp], trained, 140),
        "prune in rounds": Verb(
            ["prune", *COMMON, "--method", "magnitude", *START, *rounds], trained, 70
        ),
        "reproduce by training": Verb(
            ["reproduce", ENTRY, "--mode", "train", "--set", "epochs=2", "--no-tracking"],
            trained,
            50,
        ),
        "reproduce": Verb(["reproduce", ENTRY, "--no-tracking"], evaluated, 5),
        "pull": Verb(["pull", ENTRY], stored, 3, 0.5),
        "allocation": Verb(
            ["allocation", DENSE, "--target", "0.5"],
            lambda home: sorted(_digest(f) for f in home.glob("cache/curves/*/*.npy")),
            20,
        ),
        "export": Verb(
            ["export", ENTRY, f"{home}/out.safetensors", "--to", "safetensors"], written, 3, 0.5
        ),
        "sync": Verb(["sync"], mirrored, 2, 6.0),
    }


@campaign(count=110, sample=3)
def kills(trial: Trial) -> Iterator[str]:
    """Every long verb killed by SIGKILL, inside writes and between them, and typed again: at last
    the weights have the bits of an undisturbed run, and no result is lost or doubled.
    """
    yield from _struck(trial, verbs)


@campaign(count=30, sample=1)
def executor_kills(trial: Trial) -> Iterator[str]:
    """Sweeps on executors whose command is killed by SIGKILL at random moments and typed again: no
    training is lost, no result is lost or doubled, and the weights have the same bits.
    """
    yield from _struck(trial, sweeps)


def sweeps(home: Path) -> dict[str, Verb]:
    """One sweep of two cells on each executor that is here.

    Ray where RAY_ADDRESS names a cluster, Slurm where its commands answer (tests/launch/
    slurm_here.sh starts one): both outlive the command, as they do where they are used.
    """
    grid = ["--method", "gmp", "--set", "settings.sparsity=0.5,0.9", "--set", "epochs=2"]
    words = ["sweep", *COMMON, *grid, "--limit", "300", "--memory", "0.5", "--executor"]
    latest = {"inline": 30, "local": 2}  # trainings write in the command itself, or in its workers
    longest_s = {"inline": 6.0, "local": 6.0}
    if os.environ.get("RAY_ADDRESS"):
        latest["ray"], longest_s["ray"] = 2, 12.0
    if shutil.which("squeue") and subprocess.run(["squeue"], capture_output=True).returncode == 0:
        latest["slurm"], longest_s["slurm"] = 2, 15.0
    return {
        name: Verb([*words, name], trained, last, longest_s[name]) for name, last in latest.items()
    }


def _struck(trial: Trial, known: Known) -> Iterator[str]:
    """A text for each kill of the verbs, one verb after the other."""
    whole: dict[str, Any] = {}
    count, number = 0, 0
    while count < trial.count:
        for name in known(trial.folder):
            number += 1
            dead, told = _killed_and_finished(trial, known, name, number, whole)
            count += dead
            yield from ([""] * (dead - 1) + [told] if dead else [told] if told else [])
            if count >= trial.count:
                return


def _killed_and_finished(
    trial: Trial, known: Known, name: str, number: int, whole: dict[str, Any]
) -> tuple[int, str]:
    """(kills, what is wrong in the end)."""
    home = trial.folder / f"{number}"
    verb = known(home)[name]
    if name not in whole:
        calm = trial.folder / f"whole-{name.replace(' ', '-')}"
        _prepared(calm, name)
        undisturbed = Command(calm, known(calm)[name].arguments, save_every_s=0.0).start()
        undisturbed.process.join()  # type: ignore[attr-defined]  # a queue of Slurm takes its time
        whole[name] = verb.product(calm)
    _prepared(home, name)
    dead = 0
    for _ in range(trial.rng.randint(1, min(MOST_KILLS, trial.count))):
        strike = None
        if trial.rng.random() < 0.6:
            strike = (trial.rng.randint(1, verb.latest), signal.SIGKILL)
        command = Command(home, verb.arguments, save_every_s=0.0, strike=strike).start()
        process: Any = command.process
        process.join(None if strike else trial.rng.uniform(0.0, verb.longest_s))
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        if process.exitcode != -signal.SIGKILL:
            if process.exitcode:
                return dead, f"{name}: exit code {process.exitcode}: {command.log[-400:]}"
            break
        dead += 1
    last = Command(home, verb.arguments).start()
    last.process.join()  # type: ignore[attr-defined]
    return dead, _wrong(name, home, verb, last, whole[name])


def _wrong(name: str, home: Path, verb: Verb, last: Command, wanted: Any) -> str:
    if last.process.exitcode:  # type: ignore[attr-defined]
        return f"{name}: at last exit code {last.process.exitcode}: {last.log[-400:]}"  # type: ignore[attr-defined]
    found = verb.product(home)
    if found != wanted:
        return f"{name}: ends otherwise than undisturbed: {found} instead of {wanted}"
    left = [path for path in home.rglob("*.part") if "cache" not in path.parts]
    return f"{name}: left behind {left}" if left and verb.product is trained else ""


def _prepared(home: Path, name: str) -> None:
    """`home` with two results to mirror, for the verb that mirrors."""
    home.mkdir()
    if name == "sync":
        from harness.results.store import save
        from tests.support.results import made
        from tests.support.results import trained as by_training

        for result in (made(), by_training(entry="local-gmp")):
            save(result, folder=home / "reports" / "results")


def _results(home: Path) -> list[str]:
    """Of each stored result what must not depend on when it was measured."""
    found = []
    for result in load_all(home / "reports" / "results"):
        counts = [run.counts.top1 for run in result.runs] or [result.seen[1].top1]
        found.append(json.dumps([result.entry, counts, result.cost.nnz if result.cost else None]))
    return sorted(found)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
