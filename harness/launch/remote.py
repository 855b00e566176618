"""One attempt at a job in a process that a cluster started: plain data in, plain data out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from harness import paths
from harness.launch.attempt import attempt
from harness.launch.executor import Report, Work
from harness.launch.jobs import Job
from harness.launch.wire import read_job
from harness.training import obeyed


def remote_attempt(
    work_name: str, data: Mapping[str, Any], place: str, report: Report
) -> dict[str, Any]:
    """The ending of an attempt at the job in `data`, as `asdict` has both.

    work_name: "module:function", what does a job. A signal that stops lets a training save; the
    ending is then "preempted".
    """
    module, _, name = work_name.partition(":")
    work: Work = getattr(import_module(module), name)

    def stoppable(job: Job, report: Report) -> Mapping[str, Any]:
        with obeyed():
            return work(job, report)

    return asdict(attempt(stoppable, read_job(dict(data)), report, place))


def surroundings(*, shared: bool = True) -> dict[str, str]:
    """The variables by which a process elsewhere finds the same modules, home and data.

    shared: whether it sees the same home folder; else it has a home and data of its own.
    """
    modules = os.pathsep.join(dict.fromkeys(place for place in sys.path if place))
    if not shared:
        return {"PYTHONPATH": modules}
    mine = {name: text for name, text in os.environ.items() if name.startswith("BENCH_")}
    return mine | {"BENCH_HOME": str(paths.home()), "PYTHONPATH": modules}
