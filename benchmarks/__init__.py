"""Measurements whose output is on record in reports/. Run them from the project's root.

Each has a form of seconds, `--small`, that the tests run: tiny networks, made-up pictures, a home
folder that is gone afterwards. It shows that the script works; its figures mean nothing.
"""

from __future__ import annotations

import os
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def parsed(
    parser: ArgumentParser, words: Sequence[str] | None = None, **small: object
) -> Namespace:
    """The command line; with --small, options that were not given are those of `small`."""
    parser.add_argument("--small", action="store_true", help="takes seconds, proves nothing")
    chosen = parser.parse_args(words)
    if chosen.small:
        parser.set_defaults(**small)
        chosen = parser.parse_args(words)
    return chosen


@contextmanager
def home(temporary: bool) -> Iterator[None]:
    """The clone, whose pages below reports/ a benchmark makes, or a folder removed at the end.

    A BENCH_HOME of the user's own goes before the clone.
    """
    before = os.environ.get("BENCH_HOME")
    clone = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCH_HOME"] = str(Path(folder).resolve()) if temporary else before or clone
        try:
            yield
        finally:
            os.environ.pop("BENCH_HOME")
            if before is not None:
                os.environ["BENCH_HOME"] = before
