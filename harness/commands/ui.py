"""bench ui"""

from __future__ import annotations

import os
import subprocess
import sys

import click

from harness.commands.number_types import WholeNumber
from harness.commands.visible_text import say_line
from harness.errors import MetricError


@click.command("ui", epilog="Example:  bench ui --port 5001")
@click.option("--port", default=5000, show_default=True, type=WholeNumber(1, 65535))
@click.option("--tracking-uri", help="MLflow store (default: sqlite file in the home folder).")
def command(port: int, tracking_uri: str | None) -> None:
    """Serve MLflow's page on our runs, to this machine only.

    The printed link opens the run table with published, measured and their difference side by
    side. A tracking server is not served again; its address is printed.
    """
    from harness.reports import default_tracking_uri, mlflow_problem, mlflow_run_table

    uri = tracking_uri or default_tracking_uri()
    try:
        table = mlflow_run_table(tracking_uri)
    except Exception as error:  # any store, each with its own errors
        raise MetricError(mlflow_problem(error, uri)) from error
    served = uri.startswith(("http://", "https://"))
    base = uri.rstrip("/") if served else f"http://127.0.0.1:{port}"
    say_line(f"{base}/{table}")
    if served:
        return
    say_line("Ctrl-C ends it. Nothing shown? First: bench sync", err=True)
    raise SystemExit(_serve(uri, port))


def _serve(uri: str, port: int) -> int:
    """MLflow's exit code; 0 when the user stops it."""
    environment = {
        **os.environ,
        # Not on the command line, which every user of the machine can read: it may hold a password.
        "MLFLOW_BACKEND_STORE_URI": uri,
        # One worker and no job runner: a local page needs neither, and starts in half the time.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    arguments = ["ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    try:
        return subprocess.run(
            [sys.executable, "-m", "mlflow", *arguments], env=environment
        ).returncode
    except KeyboardInterrupt:
        return 0
