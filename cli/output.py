"""Printing: results to stdout, progress to stderr, colour and bars only on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

STATUS_STYLE = {
    "exact": "green",
    "match": "green",
    "consistent": "green",
    "near": "yellow",
    "smoke": "cyan",
    "reported": "default",
    "suspect": "dim",
    "cannot check": "yellow",
}
MISSING = "–"


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, indent=1, ensure_ascii=False))


def console() -> Console:
    """A console on stdout that honours NO_COLOR and the terminal's width."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def print_rich(renderable: RenderableType) -> None:
    """Print a table or text to stdout."""
    console().print(renderable)


def styled(status: str) -> str:
    """A status in its colour, as rich markup; failures are red."""
    return f"[{STATUS_STYLE.get(status, 'red')}]{status}[/]"


class Bars:
    """Progress on a terminal: one bar that moves from stage to stage."""

    def __init__(self, rich: RichProgress) -> None:
        self._rich = rich
        self._task: TaskID | None = None

    def stage(self, text: str, total: int | None = None) -> None:
        if self._task is not None:
            self._rich.remove_task(self._task)
        self._task = self._rich.add_task(text, total=total, facts="")

    def advance(self, amount: int = 1, **facts: float) -> None:
        if self._task is not None:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in facts.items())
            self._rich.update(self._task, advance=amount, **({"facts": shown} if shown else {}))

    def note(self, text: str) -> None:
        self._rich.console.print(text)


class Lines:
    """Progress for logs: one line per stage, nothing per batch."""

    def stage(self, text: str, total: int | None = None) -> None:
        click.echo(text, err=True)

    def advance(self, amount: int = 1, **facts: float) -> None:
        """Batches leave no trace in a log."""

    def note(self, text: str) -> None:
        click.echo(text, err=True)


@contextmanager
def progress() -> Iterator[Bars | Lines]:
    """Bars on a terminal, plain lines elsewhere; always on stderr."""
    from rich.console import Console

    stderr = Console(stderr=True)
    if not stderr.is_terminal:
        yield Lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
    )
    with RichProgress(*columns, console=stderr, transient=True) as rich:
        yield Bars(rich)
