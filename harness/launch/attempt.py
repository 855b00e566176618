"""One attempt at a job, wherever it runs: whatever happens becomes an ending."""

from __future__ import annotations

import traceback

from harness.errors import BenchError, Preempted, RunInUse
from harness.launch.executor import Report, Work
from harness.launch.jobs import Ending, Job


def attempt(work: Work, job: Job, report: Report, place: str = "") -> Ending:
    """Do `job`; an exception is its ending, with the class and the reason."""
    try:
        value = work(job, report)
    except Preempted as error:
        return Ending(job.key, "preempted", None, "Preempted", str(error), place)
    except RunInUse as error:
        return Ending(job.key, "busy", None, "RunInUse", str(error), place)
    except BenchError as error:
        return Ending(job.key, "failed", None, type(error).__name__, str(error), place)
    except Exception as error:  # a fault of the program ends this job and no other
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})"
        return Ending(job.key, "failed", None, type(error).__name__, reason, place)
    return Ending(job.key, "done", value, place=place)
