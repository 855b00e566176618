"""Official downloads, checked by md5 and put in place whole or not at all."""

from __future__ import annotations

import logging
import shutil
import tarfile
import tempfile
from pathlib import Path

from harness.errors import DataError
from harness.registry import DataSet, Download

TIMEOUT_S = 30  # without an answer for this long the host counts as unreachable


def fetch(about: DataSet, root: Path) -> None:
    """Bring every official file of `about` below `root`.

    Archives are unpacked next to it and renamed into place, so a broken download leaves no folder.
    Raises DataError with the manual way when a file cannot be had or has the wrong md5.
    """
    if not about.downloads:
        raise DataError(missing(about, root))
    for download in about.downloads:
        folder = _target(about, download, root)
        try:
            _one(download, folder)
        except DataError as error:
            raise DataError(f"{error}. {missing(about, root)}") from error


def missing(about: DataSet, root: Path) -> str:
    """One line that says what is absent and how to put it there."""
    return f"{about.name}: not found below {root}; {remedy(about, root)}"


def remedy(about: DataSet, root: Path) -> str:
    """What to do when `about` is not below `root`: the files to get and the folder to fill."""
    if about.own and not about.streamed:
        return "run the script that gives its images, or install the package that reads them"
    where = root / about.folder
    if about.downloads:
        urls = " ".join(d.url for d in about.downloads)
        how = f"put the content of {urls} into {where}"
    else:
        how = f"get it from {about.page} and put class folders into {where}/<split>/<class>/"
    return f"{how}, or point BENCH_DATA_ROOT (or --data-root) at a folder that has it"


def _target(about: DataSet, download: Download, root: Path) -> Path:
    place = root / about.folder
    return place.parent if download.unpack == place.name else place


def _one(download: Download, folder: Path) -> None:
    if download.unpack and (folder / download.unpack).is_dir():
        return
    from requests import ConnectionError, Timeout

    name = download.url.rpartition("/")[2]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as work:
            file = _retrieve(download, name, Path(work))
            if download.unpack:
                file = _unpacked(file, download.unpack)
            target = folder / file.name
            if not target.exists():
                shutil.move(file, target)
    except (OSError, tarfile.TarError, EOFError) as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ConnectionError | Timeout):  # their texts are long and say no more
            reason = "the host cannot be reached"
        raise DataError(f"{download.url}: {reason}") from error


def _retrieve(download: Download, name: str, work: Path) -> Path:
    import pooch
    from requests import HTTPError

    pooch.get_logger().setLevel(logging.WARNING)  # it would tell of every download
    # Kept-alive connections would never be closed.
    way = pooch.HTTPDownloader(timeout=TIMEOUT_S, headers={"Connection": "close"})
    try:
        known = f"md5:{download.md5}"
        return Path(pooch.retrieve(download.url, known, fname=name, path=work, downloader=way))
    except HTTPError as error:
        assert error.response is not None  # a host answered
        with error.response as answer:  # it holds the connection
            status = f"{answer.status_code} {answer.reason}"
        raise DataError(f"{download.url}: the host answers {status}") from error
    except ValueError as error:  # the file is gone already
        raise DataError(f"{download.url}: not the official file: {error}") from error


def _unpacked(archive: Path, member: str) -> Path:
    into = archive.parent / "unpacked"
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    if not (into / member).is_dir():
        raise DataError(f"{archive.name}: holds no folder {member!r}")
    return into / member
