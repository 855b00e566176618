"""Options of every verb that measures: where it runs, what it reads, who hears of its results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.commands import shared_options as options
from harness.commands.output import progress

if TYPE_CHECKING:
    from harness.evaluation import Listener
    from harness.registry import Registry
    from harness.system import Options, Progress


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the user says about the surroundings of a run."""

    data_root: Path | None
    registries: tuple[Path, ...]
    as_json: bool
    device: str = "cpu"
    tracking_uri: str | None = None
    no_tracking: bool = True

    def registry(self) -> Registry:
        """The shipped registry plus the user's files."""
        return options.load_registry(self.registries)

    @contextmanager
    def begun(self, **chosen: Any) -> Iterator[tuple[Options, Listener]]:
        """Options of the harness with progress on stderr, and the listener of its results.

        chosen: further options, by name. Under torchrun only the first process mirrors.
        """
        with progress() as bars:
            yield self.surroundings(bars, bars.note, **chosen)

    def surroundings(
        self,
        bars: Progress,
        note: Callable[[str], object],
        **chosen: Any,
    ) -> tuple[Options, Listener]:
        """Likewise with another progress; note: hears of the first problem with MLflow."""
        from harness.system import Options

        device = options.pick_device(self.device)
        given = Options(device=device, data_root=self.data_root, progress=bars, **chosen)
        return given, self.listener(note)

    def listener(self, note: Callable[[str], object], sweep: str | None = None) -> Listener:
        """Who hears of results. sweep: its name is that of their parent run in MLflow."""
        from harness.reports import publisher

        mirrored = not self.no_tracking and os.environ.get("RANK", "0") == "0"
        return publisher(note, self.tracking_uri, mirrored=mirrored, sweep=sweep)


_PLACE = (options.device, options.data_root)
_REST = (options.extra_registries, options.as_json)
# Verbs that only read weights, verbs that store no result, and verbs whose results are mirrored
# into MLflow.
reading_weights = options.gathered("run", RunOptions, options.data_root, *_REST)
measuring = options.gathered("run", RunOptions, *_PLACE, *_REST)
recording = options.gathered(
    "run",
    RunOptions,
    *_PLACE,
    click.option("--tracking-uri", help="MLflow store (default: sqlite file in the home folder)."),
    click.option("--no-tracking", is_flag=True, help="Do not mirror into MLflow."),
    *_REST,
)
