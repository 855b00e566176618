"""The table of the campaigns: a line on the terminal, a row in reports/campaigns.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.campaigns.campaign import CAMPAIGNS, Outcome
from tests.campaigns.every import NAMES

HEAD = """# Campaigns

Attacks on the program with inputs made by code; `python -m tests.campaigns --report
reports/campaigns.md` carries them out and writes this table. What protects against them:
[docs/threat-model.md](../docs/threat-model.md).

| campaign | tried | failed | seed | date | minutes | what is tried, and what must hold |
| --- | ---: | ---: | ---: | --- | ---: | --- |
"""
_ROW = re.compile(r"^\| ([a-z-]+) \| .*\|$", re.MULTILINE)


def line_of(outcome: Outcome) -> str:
    """What the command prints of one campaign."""
    failed = len(outcome.failures)
    return f"{outcome.name}: {outcome.tried:,} tried, {failed:,} failed ({outcome.seconds:.0f} s)"


def written(outcomes: Sequence[Outcome], former: Path) -> str:
    """The report with the rows of `outcomes`, and those of `former` for all other campaigns."""
    rows = {}
    if former.exists():
        rows = {match[1]: match[0] for match in _ROW.finditer(former.read_text(encoding="utf-8"))}
    rows |= {outcome.name: _row(outcome) for outcome in outcomes}
    return HEAD + "\n".join(rows[name] for name in NAMES if name in rows) + "\n"


def _row(outcome: Outcome) -> str:
    cells = (
        outcome.name,
        f"{outcome.tried:,}",
        f"{len(outcome.failures):,}",
        str(outcome.seed),
        f"{datetime.now(UTC):%Y-%m-%d}",
        f"{outcome.seconds / 60:.1f}",
        CAMPAIGNS[outcome.name].protocol,
    )
    return f"| {' | '.join(cells)} |"
