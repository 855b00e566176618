"""Runs in print: a table of all, and everything about one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.reports import MISSING

if TYPE_CHECKING:
    from rich.table import Table

    from harness.launch import RunStatus


def runs_table(runs: Sequence[RunStatus]) -> Table:
    """One row per run."""
    from rich.table import Table
    from rich.text import Text

    counts = {state: sum(run.state == state for run in runs) for state in _STYLES}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    caption = said or "no runs yet; bench train, bench sweep make some"
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    for name in ("run", "state"):
        table.add_column(name, overflow="fold")
    for name in ("progress", "eta", "top-1 %", "touched"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("place")
    for run in runs:
        table.add_row(
            Text(run.id),
            Text(run.state, style=_STYLES[run.state]),
            *(Text(cell) for cell in _numbers(run)),
            Text(run.reason or run.place or run.queue or ""),
        )
    return table


_STYLES = {
    "running": "cyan",
    "queued": "",
    "preempted": "yellow",
    "failed": "red",
    "done": "green",
}


def details(run: RunStatus) -> dict[str, Any]:
    """Everything about one run, JSON-ready; what is not known is left out."""
    from harness.errors import ProtocolError
    from harness.launch import request_of

    found = {name: value for name, value in asdict(run).items() if value not in (None, "")}
    try:
        asked = request_of(run)["request"]
    except ProtocolError as error:
        return {**found, "asked": str(error)}
    changes = {key: change["value"] for key, change in asked["overrides"].items()}
    return {
        **found,
        "method": asked["entry"]["method"],
        "model": asked["entry"]["model"],
        "dataset": asked["entry"]["dataset"],
        "recipe": asked["recipe"]["name"],
        "changes": changes,
        "device": asked["device"],
    }


def _numbers(run: RunStatus) -> list[str]:
    return [
        MISSING if run.progress_pct is None else f"{run.progress_pct:.0f} %",
        MISSING if run.eta_s is None else _lasting(run.eta_s),
        MISSING if run.top1_pct is None else f"{run.top1_pct:.2f}",
        MISSING if not run.updated else f"{_lasting(time.time() - run.updated)} ago",
    ]


def _lasting(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
