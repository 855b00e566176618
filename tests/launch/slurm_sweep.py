"""A sweep of 24 trainings on the Slurm of this machine, and what it survives.

    tests/launch/slurm_here.sh up
    python -m tests.launch.slurm_sweep

One job is requeued with `scontrol requeue`, another is held back until its time limit of two
minutes is near, and told so. Every result has to be there once, with the weights of a sweep that
ran undisturbed in one process. Needs the extra `cluster`.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from tests.launch.cluster_sweep import WAIT_S, command, results, run, weights

LIMIT_MINUTES = 2
HELD_S = 75  # Slurm tells a job of its limit 60 s before it, as the executor asks


def slurm(*words: str) -> str:
    """What one of Slurm's commands prints."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def on_one_that_trains(home: Path, process: subprocess.Popen, *words: str) -> str:
    """Do `words` to a job that runs once another training has begun; its number."""
    begun = set(home.glob("runs/*/*"))
    end = time.monotonic() + WAIT_S
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.2)
        listed = slurm("squeue", "--noheader", "--array", "--format=%i %T")
        running = re.findall(r"^(\S+) RUNNING$", listed, re.MULTILINE)
        if not set(home.glob("runs/*/*")) - begun or not running:
            continue
        done = subprocess.run([*words, running[-1]], capture_output=True)
        if done.returncode == 0:  # else it ended in between
            return running[-1]
    raise SystemExit(f"no job to do {' '.join(words)} to")


def disturb(home: Path, process: subprocess.Popen) -> None:
    """Requeue one job that runs, and hold another one back until its limit is near."""
    on_one_that_trains(home, process, "scontrol", "requeue")
    held = on_one_that_trains(home, process, "scancel", "--signal=STOP")
    time.sleep(HELD_S)
    subprocess.run(["scancel", "--signal=CONT", held], check=False)  # it may have ended by itself


def main() -> None:
    """Run it all and print the lines."""
    with tempfile.TemporaryDirectory() as folder:
        inline, home = Path(folder) / "inline", Path(folder) / "slurm"
        alone_s = run(command("--executor", "inline"), inline)
        count = len(results(inline))
        words = command("--executor", "slurm", "--time", str(LIMIT_MINUTES))
        began = time.perf_counter()
        with (Path(folder) / "said").open("w+") as said:
            environment = {**os.environ, "BENCH_HOME": str(home)}
            with subprocess.Popen(
                words, env=environment, stdout=subprocess.DEVNULL, stderr=said
            ) as process:
                disturb(home, process)
                process.wait(2 * WAIT_S)
            said.seek(0)
            told = said.read().count("preempted")
        slurm_s = time.perf_counter() - began
        same = weights(home) == weights(inline)
        entries = {file.parent.name for file in results(home)}
        whole = same and told and len(entries) == len(results(home)) == count
        print(f"- {count} trainings in one process, undisturbed: {alone_s:.0f} s.")
        print(
            f"- Slurm, one node of {os.cpu_count()} CPUs, limit {LIMIT_MINUTES} minutes: "
            f"{slurm_s:.0f} s; one job requeued, {told} told of its limit, saved and sent again."
        )
        print(
            f"- {len(results(home))} results of {len(entries)} entries; weights equal to the "
            f"undisturbed ones: {same}."
        )
    if not whole:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
