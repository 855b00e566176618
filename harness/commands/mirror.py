"""Where results are mirrored: --tracking-uri and --no-tracking."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from harness.commands.output import Bars, Lines
from harness.commands.shared_options import gathered

if TYPE_CHECKING:
    from harness.results import Result


@dataclass(frozen=True, slots=True)
class Tracking:
    """What the user says about MLflow."""

    tracking_uri: str | None
    no_tracking: bool


tracking_options = gathered(
    "tracking",
    Tracking,
    click.option("--tracking-uri", help="MLflow store (default: sqlite file in the home folder)."),
    click.option("--no-tracking", is_flag=True, help="Do not mirror into MLflow."),
)


def mirror_all(results: list[Result], tracking: Tracking, bars: Bars | Lines) -> None:
    """Mirror results into MLflow unless switched off; the first problem is noted and ends it.

    Under torchrun the first process does it for all.
    """
    if tracking.no_tracking or os.environ.get("RANK", "0") != "0":
        return
    from harness.reports import mirror

    for result in results:
        problem = mirror(result, tracking.tracking_uri)
        if problem:
            bars.note(problem)
            return
