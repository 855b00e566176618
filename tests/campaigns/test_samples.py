"""A small sample of every campaign, so that each still runs and holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaigns.campaign import CAMPAIGNS, carry_out
from tests.campaigns.every import NAMES
from tests.campaigns.table import written

# Each try is a process or several; the tests beside what they try have a quick one.
SLOW = {"executor-kills", "kills", "one-home", "small-disks"}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in NAMES]
)
def test_a_sample_of_the_campaign_holds(name: str, tmp_path: Path, home: Path) -> None:
    outcome = carry_out(name, 1, CAMPAIGNS[name].sample, tmp_path)
    assert outcome.failures == []
    assert outcome.tried >= CAMPAIGNS[name].sample


def test_the_report_keeps_the_rows_of_campaigns_that_did_not_run(tmp_path: Path) -> None:
    from tests.campaigns.campaign import Outcome

    report = tmp_path / "campaigns.md"
    first, second = NAMES[:2]
    report.write_text(written([Outcome(first, 3, 1234, ["x"], 60.0)], report))
    report.write_text(written([Outcome(second, 4, 5, [], 6.0)], report))
    rows = [line for line in report.read_text().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[:4] for row in rows[1:]] == [
        [f"| {first}", "1,234", "1", "3"],
        [f"| {second}", "5", "0", "4"],
    ]
