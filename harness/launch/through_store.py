"""Jobs on nodes that do not see this home folder: what they need and leave goes through a store.

Where the command is: `sent` puts the files that a job names into the store, `brought_home` takes
what it left. On the node: `arrived` finds those files, `shared_results` those of attempts before.
A run folder is kept there by whoever trains in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import DataError, ProtocolError
from harness.launch.jobs import Ending, Job
from harness.registry import data_set
from harness.results import file_of
from harness.system import SharedStore, locked, sha256_file
from harness.training import RunFolder


def sent(job: Job, address: str) -> Job:
    """`job` for nodes that share only the store. Raises ProtocolError for what they cannot have."""
    _refuse_what_is_only_here(job)
    store, hashes = SharedStore(address), {}
    for path in _files(job.where):
        hashes[path] = sha256_file(Path(path))
        name = _name(path, hashes[path])
        if not store.has(name):
            store.keep(Path(path), name)
    return replace(job, where={**job.where, "store": address, "files": hashes})


def arrived(job: Job) -> Job:
    """`job` with the paths that its files have on this node."""
    if "store" not in job.where:
        return job
    store = SharedStore(job.where["store"])
    here = {path: _here(path, digest, store) for path, digest in job.where["files"].items()}
    where = {**job.where, "registries": [here[path] for path in job.where["registries"]]}
    if "request" in where:
        file = where["request"]["from_file"]
        where["request"] = {**where["request"], "from_file": here.get(file, file)}
    return replace(job, where=where)


@contextmanager
def shared_results(job: Job, entry: str) -> Iterator[None]:
    """The block finds the results that other nodes have of `entry`, and leaves its own to them."""
    if "store" not in job.where:
        yield
        return
    store = SharedStore(job.where["store"])
    folder = paths.results_folder() / entry
    with _saving(entry):
        _fetch_missing(store, folder)
    yield
    kept = set(store.names(folder))
    for file in sorted(folder.glob("*.*"), reverse=True):  # .npz before .json
        if file.name not in kept:
            store.keep(file)


def brought_home(ending: Ending, address: str) -> None:
    """Take the run or the result that a finished job left, unless it is here already."""
    value, store = ending.value or {}, SharedStore(address)
    if "run" in value:
        RunFolder(paths.runs_folder() / value["run"], value["key"], store).fetch()
    if "result_id" not in value or file_of(value["entry"], value["result_id"]).exists():
        return
    with _saving(value["entry"]):
        _fetch_missing(store, paths.results_folder() / value["entry"], value["result_id"])


def _saving(entry: str) -> Any:
    """The lock under which results of `entry` are saved: answers without a result are removed."""
    return locked(paths.results_folder() / f".{entry}.lock")


def _fetch_missing(store: SharedStore, folder: Path, result_id: str = "") -> None:
    for name in sorted(store.names(folder), reverse=True):  # .npz before .json
        if name.startswith(result_id) and not (folder / name).exists():
            store.fetch(folder / name)


def _files(where: Any) -> list[str]:
    """Paths of the files that a job reads where its command is."""
    file = where.get("request", {}).get("from_file")
    return [*where["registries"], *([file] if file else [])]


def _name(path: str, digest: str) -> str:
    return f"files/{digest}/{Path(path).name}"


def _here(path: str, digest: str, store: SharedStore) -> str:
    """The file at `path` if this node has the same, else a copy of it."""
    if Path(path).is_file() and sha256_file(Path(path)) == digest:
        return path
    name = _name(path, digest)
    copy: Path = paths.cache_folder() / name
    if not copy.exists():
        store.fetch(copy, name)
    if sha256_file(copy) != digest:
        copy.unlink()
        raise DataError(f"{Path(path).name} arrived with another sha256 than it was sent with")
    return str(copy)


def _refuse_what_is_only_here(job: Job) -> None:
    code = [name for name in job.where.get("own_code", ()) if ".py:" in name]
    if code:
        raise ProtocolError(
            f"{code[0]} is a file of this machine, which nodes with homes of their own do not see. "
            "Install it there as a package, and name it package.module:Class"
        )
    entry = job.what["entry"] if job.kind == "evaluate" else job.what["request"]["entry"]
    if data_set(entry["dataset"]).own:
        raise ProtocolError(
            f"{entry['dataset']} is a folder of this machine, which nodes with homes of their own "
            "do not see. Put it on a file system that all see, and leave --store out"
        )
