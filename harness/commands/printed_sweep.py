"""A sweep in print: the grid before it runs, and the table at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.reports import MISSING

if TYPE_CHECKING:
    from rich.table import Table

    from harness.launch import CostEstimate, Sweep, SweepRow


def sweep_grid(sweep: Sweep, cost: CostEstimate) -> Iterator[str]:
    """Lines that say what would run: one per cell, and what all of it costs."""
    yield f"sweep {sweep.name}: {len(sweep.cells)} cells"
    for cell in sweep.cells:
        training = cell.request.training
        after = f", after {training.first.entry.id}" if training.first else ""
        seeds = len(training.seeds)
        yield f"  {cell.request.entry.id}  x {seeds} seed{'s' if seeds > 1 else ''}{after}"
    yield cost.sentence


def sweep_document(sweep: Sweep, cost: CostEstimate) -> dict[str, Any]:
    """The same for --json: cells as they would run, and the cost."""
    return {
        "sweep": sweep.name,
        "cells": [
            {
                "entry": cell.request.entry.id,
                "method": cell.point.method,
                "model": cell.point.model,
                "dataset": cell.point.dataset,
                "changes": dict(cell.point.changes),
                "seeds": list(cell.request.training.seeds),
            }
            for cell in sweep.cells
        ],
        "jobs": len(sweep.jobs),
        "cost": cost,
    }


def sweep_table(rows: Sequence[SweepRow]) -> Table:
    """A row per cell: what it is, mean ± std over seeds, zeros, MACs; or why it has no result."""
    from rich.table import Table
    from rich.text import Text

    several = len({(row.cell.point.model, row.cell.point.dataset) for row in rows}) > 1
    names = ["method", *(["model", "dataset"] if several else []), "settings"]
    caption = "mean ± sample std over seeds; sparsity: zeros among conv and linear weights"
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    for name in names:
        table.add_column(name)
    for name in ("top-1 %", "seeds", "sparsity %", "MACs, M"):
        table.add_column(name, justify="right")
    for row in rows:
        point = row.cell.point
        where = [point.model, point.dataset] if several else []
        cells = [point.method, *where, _settings(point.changes), *_numbers(row)]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _settings(changes: Mapping[str, object]) -> str:
    shown = (f"{key.removeprefix('settings.')}={value}" for key, value in changes.items())
    return " ".join(shown) or MISSING


def _numbers(row: SweepRow) -> list[str]:
    if row.result is None:
        return [f"failed: {row.reason}", "", "", ""]
    facts = row.as_plain()
    std = facts["top1_pct_std"]
    spread = "" if std is None else f" ± {std:.2f}"
    return [
        f"{facts['top1_pct_mean']:.2f}{spread}",
        str(len(facts["seeds"])),
        f"{facts['sparsity_pct']:.2f}",
        f"{facts['macs_effective'] / 1e6:.3f}",
    ]
