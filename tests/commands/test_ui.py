"""`bench ui`: the right server on the right page, and gone when it is stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from harness import reports
from tests.commands.conftest import Bench

TABLE = "#/experiments/7/runs?viewStateShareKey=abc"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """What would have been started: command and environment."""
    calls: list[tuple[list[str], dict[str, str]]] = []

    def serve(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        calls.append((command, options["env"]))
        return real([sys.executable, "-c", ""], start_new_session=True)

    real = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", serve)
    monkeypatch.setattr(reports, "mlflow_run_table", lambda uri=None: TABLE)
    return calls


def test_the_home_stores_runs_are_served_on_this_machine_only(
    bench: Bench, home: Path, started: list[tuple[list[str], dict[str, str]]]
) -> None:
    done = bench("ui", "--port", 5001)
    assert done.exit_code == 0
    assert done.stdout == f"http://127.0.0.1:5001/{TABLE}\n"
    [(command, environment)] = started
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--host": "127.0.0.1",
        "--port": "5001",
        "--workers": "1",
    }
    assert environment["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{home}/mlflow.db"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_password_is_neither_printed_nor_on_the_command_line(
    bench: Bench, started: list[tuple[list[str], dict[str, str]]]
) -> None:
    uri = "postgresql://me:secret@db.example/runs"
    done = bench("ui", "--tracking-uri", uri)
    [(command, environment)] = started
    assert "secret" not in done.output + " ".join(command)
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri


def test_a_tracking_server_is_pointed_at_and_not_served_again(
    bench: Bench, started: list[tuple[list[str], dict[str, str]]]
) -> None:
    done = bench("ui", "--tracking-uri", "https://mlflow.example/")
    assert done.stdout == f"https://mlflow.example/{TABLE}\n"
    assert started == []


SERVER = """
import os, pathlib, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("pids").write_text(f"{os.getpid()} {worker.pid}")
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_command_leaves_no_server_behind(tmp_path: Path, number: int) -> None:
    """In a process of its own, with a server that has a worker, as MLflow's has."""
    (tmp_path / "mlflow.py").write_text(SERVER)
    code = "from harness.reports.mlflow_server import serve_mlflow; print(serve_mlflow('x', 1))"
    path = os.pathsep.join([str(tmp_path), str(Path(reports.__file__).parents[2])])
    asked = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    _wait(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
    asked.send_signal(number)
    out, _ = asked.communicate(timeout=30)
    assert (asked.returncode, out) == (0, "0\n")
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        _wait(lambda pid=pid: not _runs(pid))


@pytest.mark.slow
def test_mlflows_own_server_answers_and_goes_with_the_command(home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["ui", "--port", str(port)]
    asked = subprocess.Popen(
        [sys.executable, "-m", "cli", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}"
    _wait(lambda: _answers(f"{address}/health"), 90)
    group = _group_of(asked.pid)
    assert len(group) >= 2  # MLflow, and what it started
    asked.terminate()
    out, _ = asked.communicate(timeout=30)
    assert asked.returncode == 0
    assert out.decode().startswith(f"{address}/#/experiments/")
    for pid in group:
        _wait(lambda pid=pid: not _runs(pid))


def _wait(done: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    """Whether a process is there and no zombie that nobody asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _group_of(parent: int) -> list[int]:
    """The server that `parent` started and all of its process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, above, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        found.append((int(stat.parent.name), int(above), int(group)))
    [server] = [pid for pid, above, _ in found if above == parent]
    return [pid for pid, _, group in found if group == server]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_without_mlflow_one_line_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = bench("ui")
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert "MLflow cannot be imported" in line
