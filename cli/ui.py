"""bench ui"""

from __future__ import annotations

import os
import subprocess
import sys

import click


@click.command("ui", epilog="Example:  bench ui --port 5001")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--tracking-uri", help="MLflow store (default: sqlite file in the home folder).")
def command(port: int, tracking_uri: str | None) -> None:
    """Open MLflow's page on the run table of our experiment (this machine only)."""
    from harness.tracking import default_uri, experiment_id

    uri = tracking_uri or default_uri()
    experiment = experiment_id(uri)
    click.echo(f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs")
    click.echo("Ctrl-C ends it. Nothing shown? First: bench sync", err=True)
    # One worker and no job runner: a local page needs neither, and starts in half the time.
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    arguments = ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "ui", *arguments, "--workers", "1"],
        env=environment,
        check=False,
    )
    raise SystemExit(done.returncode)
