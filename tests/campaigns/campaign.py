"""What a campaign is: one thing tried many times with other inputs, each try judged by itself."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Trial:
    """What a campaign works with. rng: the seed's; count: how often; folder: empty, its own."""

    rng: random.Random
    count: int
    folder: Path


# One text per try: "" where everything held, else what went wrong with which input.
Procedure = Callable[[Trial], Iterator[str]]


@dataclass(frozen=True)
class Campaign:
    """count: tries of a whole run; sample: of the default tests."""

    procedure: Procedure
    count: int
    sample: int

    @property
    def protocol(self) -> str:
        """What is tried and what must hold, in a sentence or two."""
        text = (self.procedure.__doc__ or "").partition("\n\n")[0]
        return " ".join(text.split())


@dataclass
class Outcome:
    """What came of one campaign."""

    name: str
    seed: int
    tried: int
    failures: list[str]
    seconds: float


CAMPAIGNS: dict[str, Campaign] = {}


def campaign(count: int, sample: int) -> Callable[[Procedure], Procedure]:
    """Put a procedure into CAMPAIGNS under its name."""

    def register(procedure: Procedure) -> Procedure:
        CAMPAIGNS[procedure.__name__.replace("_", "-")] = Campaign(procedure, count, sample)
        return procedure

    return register


def carry_out(
    name: str,
    seed: int,
    count: int,
    folder: Path,
    on_failure: Callable[[str], object] = lambda text: None,
) -> Outcome:
    """Try campaign `name` `count` times in `folder`."""
    begun = time.monotonic()
    trial = Trial(random.Random(f"{name} {seed}"), count, folder)
    outcome = Outcome(name, seed, 0, [], 0.0)
    for failure in CAMPAIGNS[name].procedure(trial):
        outcome.tried += 1
        if failure:
            outcome.failures.append(failure)
            on_failure(failure)
    outcome.seconds = time.monotonic() - begun
    return outcome
