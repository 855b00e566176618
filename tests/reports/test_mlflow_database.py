"""MLflow's sqlite file: made once by many at a time, made anew when it is broken."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from harness.reports import mlflow as tracking
from harness.results.store import save
from tests.support.places import read_only
from tests.support.results import made

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = [made(entry=f"str-a-{n}", when=f"20261103T120000Z-{n:08x}") for n in range(8)]
AT_ONCE = 5.0  # seconds: MLflow alone tries for more than a minute


@pytest.fixture
def home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return home


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with nothing in it: making one takes seconds."""
    home = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracking.sync_mlflow([])
    return home / "mlflow.db"


def mirrored(database: Path) -> list[str]:
    """Ids of the results in it, one per finished run."""
    with closing(sqlite3.connect(database)) as opened:
        rows = opened.execute(
            "SELECT value FROM tags JOIN runs USING (run_uuid) WHERE key = ? AND status = ?",
            (tracking.ID_TAG, "FINISHED"),
        )
        return sorted(value for (value,) in rows)


# Processes that begin at the same moment, after the slow import that all of them need.
AT_THE_SAME_MOMENT = """
import os, sys
import mlflow.store.tracking.sqlalchemy_store
from harness.reports import mlflow as tracking
from harness.results.store import load_all
results = list(load_all())
children = []
for result in results:
    child = os.fork()
    if not child:
        told = tracking.mirror(result)
        print(told, end="", flush=True)
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


@pytest.mark.slow
def test_eight_processes_on_a_fresh_home_mirror_all_of_their_results(home: Path) -> None:
    for result in RESULTS:
        save(result)
    for leftover in (".mlflow.db.4194304.part", ".mlflow.db.4194304.part-journal"):
        (home / leftover).write_bytes(b"of a killed process")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AT_THE_SAME_MOMENT],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert mirrored(home / "mlflow.db") == [result.result_id for result in RESULTS]
    assert sorted(path.name for path in home.iterdir()) == ["mlartifacts", "mlflow.db", "reports"]


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: 100 * 1024])


def first_tables_only(file: Path) -> None:
    """As MLflow killed in its first start leaves it: `table experiments already exists`."""
    file.unlink()
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("CREATE TABLE experiments (experiment_id INTEGER)")
        opened.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")


def last_step_missing(file: Path) -> None:
    with closing(sqlite3.connect(file)) as opened, opened:
        opened.execute("DELETE FROM experiments")


BREAKS: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "no database": lambda file: file.write_bytes(b"<html>" * 1000),
    "cut off": cut_off,
    "first tables only": first_tables_only,
    "last step missing": last_step_missing,
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_database_is_set_aside_and_made_anew_from_the_record(
    home: Path, whole: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    database = home / "mlflow.db"
    shutil.copy(whole, database)
    BREAKS[how](database)
    broken = database.read_bytes()
    (home / "mlflow.db-journal").write_bytes(b"old")
    monkeypatch.setattr("harness.reports.mlflow_database._make", lambda *_: put(whole, home))
    told = tracking.mirror(RESULTS[0])
    [aside] = home.glob("mlflow-broken-*.db")
    assert told == (
        f"mlflow.db was half made or damaged: it lies as {aside.name} now; a new one is made. "
        "Bring the earlier results into it: bench sync"
    )
    assert aside.read_bytes() == broken
    assert not (home / "mlflow.db-journal").exists()
    assert mirrored(database) == [RESULTS[0].result_id]
    assert tracking.sync_mlflow(RESULTS[:2]) == 1
    assert mirrored(database) == [result.result_id for result in RESULTS[:2]]


def put(whole: Path, home: Path) -> None:
    """In place of MLflow's own making, which takes seconds and is tested above."""
    shutil.copy(whole, home / "mlflow.db")


def test_a_whole_database_stays(home: Path, whole: Path) -> None:
    home.mkdir()
    shutil.copy(whole, home / "mlflow.db")
    assert tracking.mirror(RESULTS[0]) == ""
    assert tracking.sync_mlflow(RESULTS[:1]) == 0
    assert mirrored(home / "mlflow.db") == [RESULTS[0].result_id]
    assert not list(home.glob("mlflow-broken-*"))


def test_a_home_that_cannot_be_written_says_so_at_once(home: Path) -> None:
    with read_only(home):
        begun = time.monotonic()
        told = tracking.mirror(RESULTS[0])
        assert time.monotonic() - begun < AT_ONCE
    assert told.startswith(
        f"MLflow's database cannot be used: the home folder {home} cannot be written: "
    )
    assert told.endswith("mirror it later: bench sync")
    assert "\n" not in told
