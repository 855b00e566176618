"""Rows of the leaderboard as a pandas DataFrame, for those who go on from there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from harness.reports.table.rows import Row

if TYPE_CHECKING:
    import pandas as pd


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """One line per row in the order given, numbers unrounded; the columns are the fields of Row."""
    import pandas as pd

    names = [field.name for field in fields(Row)]
    return pd.DataFrame([asdict(row) for row in rows], columns=names)
