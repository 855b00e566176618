"""What a job is: plain data, a key that names what decides its result, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.errors import ProtocolError
from harness.system import sha256_json

# running: at work now. The others end an attempt:
# done       its value is here
# preempted  it was asked to stop and has saved; it goes on from there
# lost       its process or node died; it goes on from its last save
# elsewhere  this node lacks data or a file that another one may have
# busy       another process is at work on the same run; to be asked again a little later
# failed     it cannot be done as it is
State = Literal["queued", "running", "done", "preempted", "lost", "elsewhere", "busy", "failed"]


@dataclass(frozen=True, slots=True)
class Resources:
    """What one job needs. gpus may be a fraction: several small networks share a GPU."""

    cpus: int = 1
    gpus: float = 0.0
    memory_gib: float = 2.0

    def __post_init__(self) -> None:
        if self.cpus < 1 or not 0 <= self.gpus <= 1 or self.memory_gib <= 0:
            raise ProtocolError(
                f"a job cannot have {self.cpus} CPUs, {self.gpus:g} GPUs and "
                f"{self.memory_gib:g} GiB: at least 1 CPU, at most 1 GPU. One network on several "
                "GPUs is torchrun's: torchrun --nproc-per-node 8 -m cli train ..."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One entry to evaluate, one seed to train, or one result to put together.

    kind: which function of `harness.launch.work` does it. what: JSON-ready, decides the result and
    so the key. where: JSON-ready, moves nothing in the result (folders, a device's number).
    after: keys of jobs that have to be done before.
    """

    kind: str
    name: str  # for people
    what: Mapping[str, Any]
    where: Mapping[str, Any] = field(default_factory=dict)
    resources: Resources = Resources()
    after: tuple[str, ...] = ()
    key: str = ""

    def __post_init__(self) -> None:
        if not self.key:
            object.__setattr__(self, "key", sha256_json({"kind": self.kind, "what": self.what}))


@dataclass(frozen=True, slots=True)
class Update:
    """News of a job that runs. done and total count the steps of its present stage."""

    key: str
    place: str = ""  # such as "worker 2"
    stage: str = ""
    done: int = 0
    total: int | None = None
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt at a job ended. value: JSON-ready, only when it is done."""

    key: str
    state: State
    value: Mapping[str, Any] | None = None
    error: str = ""  # name of the exception's class
    reason: str = ""
    place: str = ""
