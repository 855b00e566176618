"""What tables of several commands share: the dash, colours of verdicts, ids that fold."""

from __future__ import annotations

import re

from harness.registry import LOCAL

MISSING = "–"

_STYLES = {
    "exact": "green",
    "match": "green",
    "consistent": "green",
    "reached": "green",
    "not reached": "yellow",
    "ambiguous preprocessing": "yellow",
    "near": "yellow",
    "smoke": "cyan",
    "reported": "",
    "suspect": "dim",
    "not measured": "dim",
    "cannot check": "yellow",
}


def status_style(status: str) -> str:
    """The rich style of a verdict's status; failures are red."""
    return _STYLES.get(status, "red")


def status_words(status: str, paper: str | None) -> str:
    """The status as it is shown: what nobody published of a user's own run is an own result."""
    return "own result" if status == "reported" and paper in (None, LOCAL) else status


def folded(name: str, width: int) -> str:
    """`name` in lines of at most `width` characters, broken after dashes where that is possible."""
    lines = [""]
    for part in re.findall(r"[^-]*-|[^-]+", name):
        if len(lines[-1]) + len(part) > width and lines[-1]:
            lines.append("")
        while len(part) > width:
            lines[-1], part = part[:width], part[width:]
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
