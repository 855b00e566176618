"""MLflow's own server on this machine, which lives as long as whoever asked for it waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from harness.errors import Preempted
from harness.training import obeyed

PATIENCE_S = 10.0  # for the server to close what it has open


def serve_mlflow(uri: str, port: int) -> int:
    """Serve the store `uri` on 127.0.0.1:`port` until stopped; MLflow's exit code, 0 if stopped.

    Ctrl-C, SIGTERM and a closed terminal end the server and every process that it started.
    """
    environment = {
        **os.environ,
        # Not on the command line, which every user of the machine can read: it may hold a password.
        "MLFLOW_BACKEND_STORE_URI": uri,
        # One worker and no job runner: a local page needs neither, and starts in half the time.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    words = ["ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", *words]
    try:
        with obeyed():
            # A group of its own: its workers are ended with it, and hear of Ctrl-C from here alone.
            server = subprocess.Popen(command, env=environment, start_new_session=True)
            try:
                return server.wait()
            finally:
                _end(server)
    except Preempted:
        return 0


def _end(server: subprocess.Popen[bytes]) -> None:
    _signal(server, signal.SIGTERM)
    try:
        server.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        pass
    finally:  # workers may outlive it, and a second Ctrl-C the patience
        _signal(server, getattr(signal, "SIGKILL", signal.SIGTERM))


def _signal(server: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            server.terminate()
        else:
            os.killpg(server.pid, number)
