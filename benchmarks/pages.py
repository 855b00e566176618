"""Pages below reports/ that a benchmark writes."""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks import home, parsed

R = TypeVar("R")


def put_between(file: Path, marker: str, inside: str) -> None:
    """Replace what stands between `<!-- marker:begin -->` and `<!-- marker:end -->`.

    Raises SystemExit if the file lacks one of the two.
    """
    begin, end = f"<!-- {marker}:begin -->", f"<!-- {marker}:end -->"
    before, found, rest = file.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise SystemExit(f"{file}: no place for the table: expected the lines {begin} and {end}")
    file.write_text(f"{before}{begin}\n{inside}\n{end}{after}")


def page_of_networks(
    about: str | None,
    names: Callable[[], Sequence[str]],
    few: Sequence[str],
    row: Callable[[str], R],
    said: Callable[[R], str],
    table: Callable[[list[R]], Iterable[str]],
    report: Path,
) -> None:
    """Measure one row a network, say it on stderr and write the page; --small prints a few."""
    warnings.simplefilter("ignore")
    small = parsed(ArgumentParser(description=about)).small
    rows = []
    with home(small):
        for name in few if small else names():
            rows.append(row(name))
            print(f"{name}: {said(rows[-1])}", file=sys.stderr, flush=True)
    text = "\n".join([*table(rows), ""])
    if small:
        print(text)
    else:
        report.write_text(text)
