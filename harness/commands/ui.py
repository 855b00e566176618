"""bench ui"""

from __future__ import annotations

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
    side, results alone: the runs of single seeds are on each result's page. Ctrl-C or SIGTERM ends
    the server. A tracking server is not served again; its address is printed.
    """
    from harness.reports import (
        default_tracking_uri,
        mlflow_problem,
        mlflow_run_table,
        serve_mlflow,
    )

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
    raise SystemExit(serve_mlflow(uri, port))
