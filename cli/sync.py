"""bench sync"""

from __future__ import annotations

import click

from harness.errors import MetricError


@click.command("sync", epilog="Example:  bench sync --tracking-uri http://127.0.0.1:5000")
@click.option("--tracking-uri", help="MLflow store (default: sqlite file in the home folder).")
def command(tracking_uri: str | None) -> None:
    """Mirror stored results that MLflow does not hold yet; repeating it adds nothing."""
    from harness.results import load_all
    from harness.tracking import default_uri, sync

    try:
        count = sync(load_all(), tracking_uri)
    except Exception as error:  # any store, each with its own errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"MLflow at {tracking_uri or default_uri()} cannot be reached: {reason}"
        raise MetricError(msg) from error
    click.echo(f"{count} results mirrored to {tracking_uri or default_uri()}")
