"""Where files live. Nobody else joins these names.

Home: $BENCH_HOME, else `home/` in the clone the code runs from, else the user's data folder.
Data: --data-root, else $BENCH_DATA_ROOT, else <home>/data.
Record: the results that ship with the project, under every home and never written to by a
measurement; $BENCH_RECORD names another one, such as a group's own.
"""

from __future__ import annotations

import errno
import os
from functools import cache
from pathlib import Path

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_WRITABLE = _NO_ROOM | {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
_PACKAGE = Path(__file__).resolve().parent
_CLONE = _PACKAGE.parent


def in_clone() -> bool:
    """True when the code runs from a clone (or an editable install of one)."""
    return _is_clone(_CLONE)


@cache
def _is_clone(folder: Path) -> bool:
    return (folder / "registry.yaml").is_file() and (folder / "pyproject.toml").is_file()


@cache  # asked for thousands of times; a link on the way costs a look at every part of the path
def _absolute(text: str, here: str) -> Path:
    """The path `text`, seen from the folder `here`, without links."""
    return Path(here, Path(text).expanduser()).resolve()


def _from_environment(name: str) -> Path | None:
    text = os.environ.get(name)
    return _absolute(text, os.getcwd()) if text else None


def home() -> Path:
    """The folder that holds checkpoints/, reports/, runs/ and mlflow.db."""
    if chosen := _from_environment("BENCH_HOME"):
        return chosen
    if in_clone():
        return _CLONE / "home"  # git ignores it
    import platformdirs

    return Path(platformdirs.user_data_dir("reprune"))


def complaint(error: OSError) -> str | None:
    """One line on a place that cannot be read or written; None for errors of no place."""
    place = home()
    if error.filename is None:  # such as a write to an open file
        if error.errno not in _NO_ROOM:
            return None
        return (
            f"no room left to write: {error.strerror}. Make room on the disk of {place}, raise the "
            "limit of a file's size (ulimit -f), or point BENCH_HOME at a folder with room"
        )
    failed = Path(os.fsdecode(error.filename))
    of_home = place in (failed, *failed.parents) or failed in place.parents
    if of_home and error.errno in _NOT_WRITABLE:
        return (
            f"the home folder {place} cannot be written: {error.strerror}. "
            "Point BENCH_HOME at a folder with room where you may write"
        )
    return f"{failed}: {error.strerror}. Name a place that can be read and written"


def data_root(option: str | Path | None = None) -> Path:
    """The folder below which data sets are looked for."""
    if option:
        return Path(option).expanduser().resolve()
    return _from_environment("BENCH_DATA_ROOT") or home() / "data"


def registry_file() -> Path:
    """The registry that comes with the code."""
    return _CLONE / "registry.yaml" if in_clone() else _PACKAGE / "shipped" / "registry.yaml"


def shipped_checkpoints() -> Path:
    """Small checkpoints that come with the code (read-only)."""
    folder = _CLONE / "checkpoints" / "shipped"
    return folder if in_clone() else _PACKAGE / "shipped" / "checkpoints"


def build_file() -> Path:
    """What a wheel knows about the code it was built from; in a clone there is none."""
    return _PACKAGE / "shipped" / "build.json"


def lock_file() -> Path:
    """registry.lock: sha256 pinned at the first good download."""
    return home() / "registry.lock"


def checkpoint_store() -> Path:
    """Local store of downloaded and converted checkpoints."""
    return home() / "checkpoints"


def reports_folder() -> Path:
    """What was measured here: results/, latency/ and the answers of links."""
    return home() / "reports"


def record_folder() -> Path:
    """Likewise, of what ships with the project."""
    if chosen := _from_environment("BENCH_RECORD"):
        return chosen
    return _CLONE / "reports" if in_clone() else _PACKAGE / "shipped" / "reports"


def results_folder() -> Path:
    """Append-only JSON results measured here."""
    return reports_folder() / "results"


def latency_folder() -> Path:
    """Append-only JSON records of timings taken here."""
    return reports_folder() / "latency"


def layers(name: str) -> tuple[Path, ...]:
    """Where files of one kind ("results", "latency", "links.json") are read: record, then home."""
    return record_folder() / name, reports_folder() / name


def own_datasets_folder() -> Path:
    """What was measured about data sets of one's own, one JSON file each."""
    return home() / "datasets"


def runs_folder() -> Path:
    """Resumable training runs."""
    return home() / "runs"


def queues_folder() -> Path:
    """What sweeps and queued suites consist of, and what became of their jobs."""
    return home() / "queues"


def cache_folder() -> Path:
    """Things that can be recomputed: dense MAC profiles, decoded images, distortion curves."""
    return home() / "cache"


def tracking_database() -> Path:
    """Default MLflow backend."""
    return home() / "mlflow.db"
