"""Jobs, news and endings as lines of JSON, for processes that talk through pipes.

Plain data on both sides: nothing that is read here can make a program run.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from harness.launch.jobs import Ending, Job, Resources, Update


def job_line(job: Job) -> str:
    """The line that asks a worker to do `job`."""
    return json.dumps({"run": asdict(job)})


def read_job(data: dict[str, Any]) -> Job:
    """Inverse of `asdict` for a job."""
    return Job(
        **{**data, "resources": Resources(**data["resources"]), "after": tuple(data["after"])}
    )


def update_line(update: Update) -> str:
    """The line that tells how far a job is."""
    return json.dumps({"update": asdict(update)})


def ending_line(ending: Ending) -> str:
    """The line that tells how a job ended."""
    return json.dumps({"ending": asdict(ending)})


def read_answer(line: str) -> Update | Ending:
    """What a worker said. Raises ValueError for a line that was cut off."""
    data = json.loads(line)
    return Update(**data["update"]) if "update" in data else Ending(**data["ending"])
