from .claims import CONTRADICTED, Claims, LinkCount, count_claims
from .latency_table import (
    MEBIBYTE,
    cells,
    legend,
    markdown,
    network_lines,
    rich_table,
    rows,
    told,
    where,
)
from .mlflow import default_uri, mirror, run_table, shown, sync, why_not
from .plots.allocation import allocation_plot
from .plots.density import density_beside
from .plots.points import AXES, Axis, points
from .plots.tradeoff import draw
from .readme import update
from .site import build
from .table.cells import MISSING, folded, status_style
from .table.columns import BY_KEY, Column, chosen
from .table.formats import STYLES, render
from .table.leaderboard import SORTS, Wanted, leaderboard
from .table.row_cache import stored_rows
from .table.rows import Row
from .table.terminal import screen
from .verdicts import verdict_blocks, verdict_lines

__all__ = [
    "AXES",
    "Axis",
    "BY_KEY",
    "CONTRADICTED",
    "Claims",
    "Column",
    "LinkCount",
    "MEBIBYTE",
    "MISSING",
    "Row",
    "SORTS",
    "STYLES",
    "Wanted",
    "allocation_plot",
    "build",
    "cells",
    "chosen",
    "count_claims",
    "default_uri",
    "density_beside",
    "draw",
    "folded",
    "leaderboard",
    "legend",
    "markdown",
    "mirror",
    "network_lines",
    "points",
    "render",
    "rich_table",
    "rows",
    "run_table",
    "screen",
    "shown",
    "status_style",
    "stored_rows",
    "sync",
    "told",
    "update",
    "verdict_blocks",
    "verdict_lines",
    "where",
    "why_not",
]
