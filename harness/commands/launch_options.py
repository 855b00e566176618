"""The options that say where jobs run, for every verb that runs many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.commands.number_types import RealNumber, WholeNumber
from harness.commands.shared_options import gathered

if TYPE_CHECKING:
    from harness.launch import Launch, Resources

F = TypeVar("F", bound=Callable[..., Any])

EXECUTORS = ("inline", "local")  # of harness.launch; here, so that --help imports nothing of it


@dataclass(frozen=True, slots=True)
class LaunchChoices:
    """What the user says about where jobs run."""

    executor: str | None
    max_jobs: int | None
    cpus: int | None
    gpus: float | None
    memory: float | None

    def launch(self, device: str) -> Launch:
        """The harness's view of the options."""
        from harness.launch import Launch

        return Launch(self.executor or "inline", device, self.max_jobs)

    def resources(self, default: Resources) -> Resources | None:
        """What every job gets, where the user says anything; the rest is that of `default`."""
        from harness.launch import Resources

        if self.cpus is None and self.gpus is None and self.memory is None:
            return None
        return Resources(
            self.cpus or default.cpus,
            default.gpus if self.gpus is None else self.gpus,
            self.memory or default.memory_gib,
        )


def launched(default: str | None) -> Callable[[F], F]:
    """The options as one argument `place`; default: the executor that is used if none is named."""
    return gathered(
        "place",
        LaunchChoices,
        click.option(
            "--executor",
            type=click.Choice(EXECUTORS),
            default=default,
            show_default=default is not None,
            help="Where jobs run: inline (one after the other, here) or local (a pool of "
            "processes, this machine's CPUs and GPUs divided among them).",
        ),
        click.option("--max-jobs", type=WholeNumber(1), help="At most so many at the same time."),
        click.option(
            "--cpus",
            type=WholeNumber(1),
            help="Threads of a job (default: 1 for small pictures, else 4).",
        ),
        click.option(
            "--gpus",
            type=RealNumber(0, 1),
            help="GPUs of a job, such as 0.25 (default on CUDA: 0.25 for small pictures, else 1).",
        ),
        click.option(
            "--memory",
            type=RealNumber(0, min_open=True),
            metavar="GIB",
            help="Memory of a job (default: 2 for small pictures, else 8).",
        ),
    )
