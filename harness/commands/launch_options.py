"""The options that say where jobs run, for every verb that runs many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.commands.number_types import RealNumber, WholeNumber
from harness.commands.shared_options import gathered

if TYPE_CHECKING:
    from harness.launch import Launch, Resources, Watching, Workers
    from harness.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])

# Of harness.launch; here, so that --help imports nothing of it.
EXECUTORS = ("inline", "local", "ray", "slurm")
OPTIONS_OF = {"ray": ("address", "store"), "slurm": ("partition", "time", "account", "array")}


@dataclass(frozen=True, slots=True)
class LaunchChoices:
    """What the user says about where jobs run."""

    executor: str | None
    max_jobs: int | None
    cpus: int | None
    gpus: float | None
    memory: float | None
    address: str | None
    store: str | None
    partition: str | None
    time: int | None
    account: str | None
    array: int | None

    def launch(self, device: str) -> Launch:
        """The harness's view of the options. Raises UsageError for one of another executor."""
        from harness.launch import Launch

        executor = self.executor or "inline"
        for other, names in OPTIONS_OF.items():
            given = [name for name in names if getattr(self, name) is not None]
            if given and other != executor:
                raise click.UsageError(
                    f"--{given[0]} says something to {other}, and the executor is {executor}; add "
                    f"--executor {other}, or leave it out"
                )
        options = {name: getattr(self, name) for name in OPTIONS_OF.get(executor, ())}
        store = options.pop("store", None)
        return Launch(executor, device, self.max_jobs, options, store)

    def workers(
        self, registry: Registry, registries: tuple[Path, ...], device: str, watching: Watching
    ) -> Workers:
        """Where the entries of a suite are worked at."""
        from harness.launch import Context, Resources, Workers

        default = Resources(gpus=1.0 if device.startswith("cuda") else 0.0)
        context = Context(registry, registries, (), self.resources(default))
        return Workers(self.launch(device), context, watching)

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
            help="Where jobs run: inline (one after the other, here), local (a pool of processes, "
            "this machine's CPUs and GPUs divided among them), ray or slurm (a cluster whose "
            "nodes see this home folder; extra `cluster`).",
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
        click.option(
            "--address",
            metavar="HOST:PORT",
            help="Ray: of the cluster (default: $RAY_ADDRESS, else one is started here).",
        ),
        click.option(
            "--store",
            metavar="ADDRESS",
            help="Ray: where nodes that do not see this home folder save runs: a folder, s3://... "
            "(default: the home folder, which all see).",
        ),
        click.option("--partition", help="Slurm: partition of the jobs (default: Slurm's)."),
        click.option(
            "--time",
            type=WholeNumber(1),
            metavar="MINUTES",
            help="Slurm: limit of a job; what is not done then saves and goes on in another "
            "(default: 60).",
        ),
        click.option("--account", help="Slurm: account that pays."),
        click.option(
            "--array", type=WholeNumber(1), help="Slurm: jobs of an array at the same time."
        ),
    )
