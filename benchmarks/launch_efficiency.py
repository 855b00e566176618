"""How much faster two workers do independent jobs of one thread than one worker does.

    python benchmarks/launch_efficiency.py [local|ray ...] [--jobs 6] [--seconds 10] [--small]

A job multiplies matrices, as often as takes `--seconds` alone on this machine. Prints the time of
one worker, of two, and the share of the ideal (half the time). Needs two CPUs that nobody else
uses; the load that it met is printed too.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks import parsed
from harness.launch import Job, Place, Queue, Resources, make_executor
from harness.launch.executor import Report

WORK = "benchmarks.launch_efficiency:multiplied"
SIDE = 256
NEEDS = Resources(1, 0.0, 0.5)


def multiplied(job: Job, report: Report) -> Mapping[str, object]:
    """The job: so many products of matrices, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    matrix = torch.full((SIDE, SIDE), 1 / SIDE)
    for _ in range(job.what["products"]):
        matrix = matrix @ matrix
    torch.set_num_threads(threads)
    return {}


def job(name: str, products: int) -> Job:
    """The job called `name`."""
    return Job(
        kind="multiply", name=name, what={"name": name, "products": products}, resources=NEEDS
    )


def products_in(seconds: float) -> int:
    """How many products one thread makes in that time."""
    count, began = 200, time.perf_counter()
    multiplied(job("trial", count), lambda update: None)
    return max(1, round(count * seconds / (time.perf_counter() - began)))


def seconds_of(name: str, workers: int, jobs: list[Job]) -> float:
    """Time of the queue; every worker has started before."""
    with tempfile.TemporaryDirectory() as folder:
        executor = make_executor(name, Place("cpu", Path(folder) / "logs", WORK))
        warm = [job(f"warm {number}", 1) for number in range(2 * workers)]
        Queue(executor, max_jobs=workers).run(warm)
        began = time.perf_counter()
        endings = Queue(executor, max_jobs=workers).run(jobs)
        seconds = time.perf_counter() - began
        executor.close()
    assert all(ending.state == "done" for ending in endings.values())
    return seconds


def main() -> None:
    """Print a line per executor."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executors", nargs="*", default=["local", "ray"])
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parsed(parser, executors=["inline"], jobs=2, seconds=0.01)
    products = products_in(chosen.seconds)
    jobs = [job(f"job {number}", products) for number in range(chosen.jobs)]
    print(f"{chosen.jobs} jobs of {chosen.seconds:g} s; load before: {os.getloadavg()[0]:.1f}")
    for name in chosen.executors:
        one, two = (seconds_of(name, workers, jobs) for workers in (1, 2))
        print(f"{name:<8} one {one:6.1f} s  two {two:6.1f} s  {one / 2 / two:4.2f} of the ideal")


if __name__ == "__main__":
    main()
