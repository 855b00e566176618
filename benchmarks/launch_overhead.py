"""What a job costs beside its work: a queue of jobs that do nothing, on each executor.

    python benchmarks/launch_overhead.py [inline|local ...] [--jobs 100,1000,10000] [--small]

Prints milliseconds per job and the growth of this process's memory. A job goes through the queue,
its journal on disk, a pipe to a worker process and back.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import parsed
from harness.launch import Job, Journal, Place, Queue, make_executor
from harness.launch.executor import Report

WORK = "benchmarks.launch_overhead:nothing"


def nothing(job: Job, report: Report) -> Mapping[str, object]:
    """The job that does nothing."""
    return {}


def measure(name: str, count: int) -> tuple[float, float]:
    """(milliseconds per job, mebibytes of this process that came on top)."""
    with tempfile.TemporaryDirectory() as folder:
        executor = make_executor(name, Place("cpu", Path(folder) / "logs", WORK))
        journal = Journal.open(Path(folder) / "events.jsonl")
        Queue(executor).run([Job(kind="nothing", name="warm", what={})])
        jobs = [Job(kind="nothing", name=f"job {n}", what={"n": n}) for n in range(count)]
        before, started = _memory_mib(), time.perf_counter()
        endings = Queue(executor, journal).run(jobs)
        seconds = time.perf_counter() - started
        journal.close()
        executor.close()
    assert all(ending.state == "done" for ending in endings.values())
    return 1000 * seconds / count, _memory_mib() - before


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a line per executor and number of jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executors", nargs="*", default=["inline", "local"])
    parser.add_argument("--jobs", default="100,1000,10000")
    chosen = parsed(parser, executors=["inline"], jobs="10")
    for name in chosen.executors:
        for count in map(int, chosen.jobs.split(",")):
            ms, mib = measure(name, count)
            print(f"{name:<8} {count:>7,} jobs  {ms:6.3f} ms per job  {mib:6.1f} MiB more")


if __name__ == "__main__":
    main()
