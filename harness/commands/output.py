"""Printing: results to stdout, progress to stderr, colour and bars only on a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Literal

from harness.commands.visible_text import in_one_line, say, say_line, visible
from harness.reports import status_style

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID
    from rich.table import Table
    from rich.text import Text

SHORTEST_TEXT = 20  # columns that text beside a label has on the narrowest terminal
UNFOLDED = 200  # columns when nobody looks: lines that grep and logs can use
WIDEST = 1000  # columns, whatever the environment says


def print_json(document: Any) -> None:
    """One JSON document on stdout; dataclasses in it become objects."""
    from harness.registry import plain

    say(json.dumps(plain(document), indent=1, ensure_ascii=False))


def columns() -> int:
    """The terminal's width, or COLUMNS."""
    seen = sys.stdout.isatty() or "COLUMNS" in os.environ
    return min(get_terminal_size((UNFOLDED, 0)).columns, WIDEST) if seen else UNFOLDED


def console(*, stderr: bool = False) -> Console:
    """A console on stdout, `columns` wide, no style at all under NO_COLOR.

    Text is shown as it is: no markup or emoji names are read in it, and what a terminal would obey
    is escaped before it is laid out. On `stderr` the width is always the terminal's.
    """
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment

    class Escaping(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                shown = segment.text if segment.control else visible(segment.text)
                yield segment if shown is segment.text else Segment(shown, segment.style)

    return Escaping(
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if stderr else columns(),
        _environ={k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")},
        color_system=None if os.environ.get("NO_COLOR") else "auto",
    )


def print_rich(renderable: RenderableType) -> None:
    """Print a table or text to stdout."""
    console().print(renderable)


def plain_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[RenderableType | None]],
    *,
    right: Collection[str] = (),
    whole: Collection[str] = (),
) -> Table:
    """A table without lines. right: heads of numbers; whole: heads of what is never folded."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        justify: Literal["left", "right"] = "right" if head in right else "left"
        table.add_column(head, justify=justify, overflow="fold", no_wrap=head in whole)
    for row in rows:
        table.add_row(*row)
    return table


def print_labelled(rows: Sequence[tuple[Text, str]]) -> None:
    """A label and its text per row; text folds between words only: a link can be copied whole."""
    from rich.text import Text

    screen = console()
    left = max(len(label) for label, _ in rows) + 2
    for label, text in rows:
        room = max(screen.width - left, SHORTEST_TEXT)
        lines = wrap(text, room, break_long_words=False, break_on_hyphens=False)
        screen.print(Text.assemble(label, " " * (left - len(label)), *lines[:1]), soft_wrap=True)
        for line in lines[1:]:
            screen.print(Text(" " * left + line), soft_wrap=True)


def styled(status: str) -> Text:
    """A status in its colour."""
    from rich.text import Text

    return Text(status, style=status_style(status))


class Bars:
    """Progress on a terminal: one bar that moves from stage to stage."""

    def __init__(self, rich: RichProgress) -> None:
        self._rich = rich
        self._task: TaskID | None = None

    def stage(self, text: str, total: int | None = None) -> None:
        if self._task is not None:
            self._rich.remove_task(self._task)
        self._task = self._rich.add_task(in_one_line(text), total=total, facts="")

    def advance(self, amount: int = 1, **facts: float) -> None:
        if self._task is None:
            return
        self._rich.update(self._task, advance=amount)
        if facts:
            shown = "  ".join(f"{name} {value:.4g}" for name, value in facts.items())
            self._rich.update(self._task, facts=shown)

    def note(self, text: str) -> None:
        self._rich.console.print(in_one_line(text))


class Lines:
    """Progress for logs: one line per stage, nothing per batch."""

    def stage(self, text: str, total: int | None = None) -> None:
        say_line(text, err=True)

    def advance(self, amount: int = 1, **facts: float) -> None:
        """Batches leave no trace in a log."""

    def note(self, text: str) -> None:
        say_line(text, err=True)


def progress_bars(screen: Console) -> RichProgress:
    """Bars with a count, the time that is left, and facts; gone when they are done."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        console=screen,
        transient=True,
    )


@contextmanager
def progress() -> Iterator[Bars | Lines]:
    """Bars on a terminal, plain lines elsewhere; always on stderr."""
    stderr = console(stderr=True)
    if not stderr.is_terminal:
        yield Lines()
        return
    with progress_bars(stderr) as rich:
        yield Bars(rich)
