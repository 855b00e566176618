"""bench sync"""

from __future__ import annotations

import click

from harness.commands import shared_options as options
from harness.commands.output import print_json
from harness.commands.visible_text import say, say_line
from harness.errors import MetricError


@click.command(
    "sync", epilog="Example:  bench sync      (to a server: --tracking-uri http://127.0.0.1:5000)"
)
@click.option("--tracking-uri", help="MLflow store (default: sqlite file in the home folder).")
@options.as_json
def command(tracking_uri: str | None, as_json: bool) -> None:
    """Mirror into MLflow the results it does not hold yet.

    Repeating it adds nothing; a mirror that was interrupted is completed.
    """
    from harness.reports import default_tracking_uri, mlflow_problem, sync_mlflow, without_password
    from harness.results import load_all

    uri = tracking_uri or default_tracking_uri()
    results = list(load_all())
    try:
        count = sync_mlflow(results, tracking_uri, lambda text: say_line(text, err=True))
    except Exception as error:  # any store, each with its own errors
        raise MetricError(mlflow_problem(error, uri)) from error
    if as_json:
        print_json(
            {"mirrored": count, "stored": len(results), "tracking_uri": without_password(uri)}
        )
    else:
        say(f"{count} of {len(results)} results mirrored now to {without_password(uri)}")
