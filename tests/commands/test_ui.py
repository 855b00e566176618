"""`bench ui`: the right server on the right page; nothing is started here."""

from __future__ import annotations

import subprocess
import sys
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

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        calls.append((command, options["env"]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
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


def test_ctrl_c_ends_it_orderly(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    assert bench("ui").exit_code == 0


def test_without_mlflow_one_line_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = bench("ui")
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert "MLflow cannot be imported" in line
