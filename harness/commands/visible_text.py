"""The one place where lines reach the terminal: what it would obey instead of showing is escaped.

Names, notes and answers come from files, servers and registries of others. Control characters,
marks that turn the direction of writing and halves of characters are shown as \\u001b, a form that
a JSON text may hold too. A problem is one line: a line break in it is shown as \\n.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import Any

import click

from harness.errors import StateWarning

MOST_SAID = 1000  # characters of a problem: who types or stores a value of thousands knows it
# All controls but line feed and tab, direction marks, line separators, and lone surrogates.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """`text` with everything escaped that a terminal would obey, line feeds and tabs apart."""
    return text if text.isprintable() else _OBEYED.sub(lambda c: f"\\u{ord(c[0]):04x}", text)


def in_one_line(text: str) -> str:
    """Likewise, line feeds and tabs as \\n and \\t."""
    return visible(text.replace("\n", "\\n").replace("\t", "\\t"))


def say(text: object = "", *, err: bool = False) -> None:
    """Print text of one or several lines."""
    click.echo(visible(str(text)), err=err)


def say_line(text: str, *, err: bool = False) -> None:
    """Print one line, whatever stands in it."""
    click.echo(in_one_line(text), err=err)


def say_painted(lines: Iterable[Iterable[tuple[str, str]]]) -> None:
    """Print lines of (text, style) pieces; a style is a colour, bold, dim or nothing.

    For long lists: rich takes longer to load than they take to print.
    """
    click.echo("\n".join("".join(_painted(*piece) for piece in line) for line in lines))


def _painted(text: str, style: str) -> str:
    shown = in_one_line(text)
    if not style or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return shown
    attributes: dict[str, Any] = {style: True} if style in ("bold", "dim") else {"fg": style}
    return click.style(shown, **attributes)  # `click.echo` drops colours outside a terminal


def problem_line(problem: object) -> str:
    """What went wrong, as the last line on stderr says it; of a very long text both ends."""
    text = str(problem)
    if len(text) > MOST_SAID:
        text = f"{text[: MOST_SAID // 2]} ... {text[-MOST_SAID // 2 :]}"
    return in_one_line(f"bench: {text}")


def say_problem(problem: object) -> None:
    """Print what went wrong, in one line on stderr."""
    click.echo(problem_line(problem), err=True)


def speak_for_libraries() -> None:
    """From now on warnings, unhandled log records and tracebacks are printed here as well.

    What is found damaged in the home folder is said once, however often a command reads it.
    """
    said: set[str] = set()

    def warned(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        kind = "bench" if issubclass(category, StateWarning) else category.__name__
        if str(message) not in said:
            say_line(f"{kind}: {message}", err=True)
        said.add(str(message))

    warnings.simplefilter("always", StateWarning)
    warnings.showwarning = warned
    logging.lastResort = _Log(logging.WARNING)
    sys.excepthook = _failed


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say_line(record.getMessage(), err=True)


def _failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    say("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), err=True)
