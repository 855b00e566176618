"""python -m tests.campaigns [NAME...] [--seed S] [--count N] [--report FILE]

Carries out all campaigns, or those named; prints tried and failed of each; ends with 1 if anything
failed. --report writes the table of this run over that of earlier ones, campaign by campaign.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import tests.conftest  # noqa: F401  # closes the internet, as for every test
from tests.campaigns.campaign import CAMPAIGNS, Outcome, carry_out
from tests.campaigns.every import NAMES
from tests.campaigns.table import line_of, written


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, help="tries of each (default: its own)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="Markdown table to renew")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        parser.error(f"no campaign is called {unknown[0]!r}; there are {', '.join(NAMES)}")
    return given


def begin(name: str, seed: int, count: int | None) -> Outcome:
    """Carry out one campaign in a home of its own."""
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        for variable in ("BENCH_HOME", "BENCH_RECORD", "BENCH_DATA_ROOT"):
            os.environ[variable] = f"{folder}/{variable.lower()}"
        work = Path(folder) / "work"
        work.mkdir()
        chosen = CAMPAIGNS[name].count if count is None else count
        return carry_out(name, seed, chosen, work, lambda told: print(f"  {name}: {told}"))


def main() -> int:
    given = arguments()
    outcomes = []
    for name in given.names or NAMES:
        outcomes.append(begin(name, given.seed, given.count))
        print(line_of(outcomes[-1]), flush=True)
    if given.report:
        given.report.write_text(written(outcomes, given.report), encoding="utf-8")
    return int(any(outcome.failures for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
