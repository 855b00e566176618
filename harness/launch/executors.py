"""Names of executors. One is imported when it is chosen, and only then its packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.errors import ProtocolError
from harness.launch.executor import Executor

# Name -> "module:function", which takes a Place. To add one, add a line and the file.
EXECUTORS = {
    "inline": "harness.launch.executors:inline",
    "local": "harness.launch.executors:local",
    "ray": "harness.launch.ray_cluster:ray_cluster",
    "slurm": "harness.launch.slurm:slurm",
}
WORK = "harness.launch.work:run"


@dataclass(frozen=True, slots=True)
class Place:
    """What every executor is told about where it works.

    logs: folder for what its processes print. options: what the user said for this kind alone,
    such as an address or a partition.
    """

    device: str
    logs: Path
    work: str = WORK
    options: Mapping[str, Any] = field(default_factory=dict)


def make_executor(name: str, place: Place) -> Executor:
    """The executor called `name`. Raises ProtocolError if there is none, or its packages lack."""
    if name not in EXECUTORS:
        known = ", ".join(EXECUTORS)
        raise ProtocolError(f"no executor is called {name!r}; known: {known}")
    module, _, function = EXECUTORS[name].partition(":")
    try:
        made: Executor = getattr(import_module(module), function)(place)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        msg = f"executor {name} needs the package {package}: pip install 'reprune[cluster]'"
        raise ProtocolError(msg) from error
    return made


def inline(place: Place) -> Executor:
    """Jobs in this process."""
    from harness.launch.inline import Inline

    module, _, function = place.work.partition(":")
    return Inline(getattr(import_module(module), function))


def local(place: Place) -> Executor:
    """Jobs in a pool of processes on this machine."""
    from harness.launch.capacity import this_machine
    from harness.launch.local import Local

    return Local(this_machine(place.device), place.work, place.logs)
