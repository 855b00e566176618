"""Jobs of a few microseconds, and jobs that misbehave; imported by worker processes."""

import os
import signal
import time
from pathlib import Path

from harness.errors import DataError, ProtocolError, RunInUse
from harness.launch.jobs import Job, Update


def nothing(name="job", /, after=(), **what):
    """A job of `run` below; by default it does nothing."""
    return Job(kind="nothing", name=name, what={"name": name, **what}, after=tuple(after))


def run(job, report):
    what = job.what
    if "mark" in what:  # a line for every attempt
        with open(what["mark"], "a") as marks:
            marks.write(f"{what['name']} {os.getpid()}\n")
    attempts = len(_lines(what.get("mark"), what["name"]))
    for _ in range(what.get("steps", 0)):
        report(Update(job.key, stage="work", done=attempts * what.get("gain", 0)))
    if "how" in what and attempts <= what["bad_attempts"]:
        _misbehave(what["how"])
    if "needs" in what and not Path(os.environ["BENCH_HOME"], what["needs"]).exists():
        raise DataError(f"{what['needs']} is not on this node. Copy it there")
    if "seconds" in what:
        report(Update(job.key, stage="sleep"))
        for _ in range(round(what["seconds"] / 0.05)):  # a signal is heard between two naps
            time.sleep(0.05)
    return {"name": what["name"], "pid": os.getpid()}


def _lines(mark, name):
    if mark is None:
        return []
    return [line for line in Path(mark).read_text().splitlines() if line.split()[0] == name]


def _misbehave(how):
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "term":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    raise {
        "settings": ProtocolError("no such setting"),
        "data": DataError("no images here"),
        "busy": RunInUse("somebody else is at work"),
        "fault": ZeroDivisionError("division by zero"),
    }[how]
