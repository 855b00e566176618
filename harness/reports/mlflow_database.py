"""MLflow's sqlite file: there whole or not at all, and made anew when it is neither.

MLflow makes its tables in dozens of steps in the file itself: two processes at once, or one that is
killed, leave a file that every later start refuses ("table ... already exists"). So it is made
under a lock in a temporary file, which then takes its place; a broken one is set aside.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.system import locked, replacing

SCHEME = "sqlite:///"
WAIT_S = 600.0  # for processes that mirror; each takes seconds
# Tables that have a row once MLflow has finished its first start: its version, its own experiment.
_LAST_MADE = ("alembic_version", "experiments")


@contextmanager
def writing(
    uri: str, make: Callable[[str], object], note: Callable[[str], object]
) -> Iterator[None]:
    """Run with the database of `uri` whole and with no other process of ours that writes into it.

    make: fills a new database, given its address. note: hears of a broken one that was set aside.
    Does nothing for servers and other databases. Raises OSError if the file cannot be written.
    """
    if not uri.startswith(SCHEME):
        yield
        return
    file = Path(uri.removeprefix(SCHEME).partition("?")[0])
    with locked(file.with_name(f".{file.name}.lock"), wait_s=WAIT_S):
        if file.exists() and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        if file.exists() and not is_whole(file):
            note(_set_aside(file))
        if not file.exists():
            _make(file, make)
        yield


def is_whole(file: Path) -> bool:
    """Whether `file` is an undamaged database in which MLflow has finished its first start."""
    try:
        with closing(sqlite3.connect(file)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
            return (
                tables.issuperset(_LAST_MADE)
                and all(database.execute(f"SELECT 1 FROM {t}").fetchone() for t in _LAST_MADE)
                and database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            )
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return True  # somebody works with it
        raise
    except sqlite3.DatabaseError:  # no database, or a malformed one
        return False


def _make(file: Path, make: Callable[[str], object]) -> None:
    for leftover in (*file.parent.glob(f".{file.name}.*.part*"), *_beside(file)):
        leftover.unlink()  # of killed processes; an old journal would be played into the new file
    with replacing(file) as part:
        make(f"{SCHEME}{part}")


def _set_aside(file: Path) -> str:
    place = file.with_name(f"{file.stem}-broken-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{file.suffix}")
    for other in _beside(file):
        other.rename(other.with_name(other.name.replace(file.name, place.name, 1)))
    file.rename(place)
    return f"{file.name} was half made or damaged: it lies as {place.name} now; a new one is made."


def _beside(file: Path) -> list[Path]:
    """Journals of sqlite."""
    return [*file.parent.glob(f"{file.name}-*")]
