"""Mirror of the results in MLflow. The JSON files are the record; a lost mirror loses nothing.

One run per result, named after the entry and tagged with the result's id from its first moment. It
counts as mirrored once it is finished: an interrupted one is completed in place by the next `sync`,
which is safe because every step of writing a run may be repeated.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from harness import paths
from harness.reports import mlflow_fields as tracked
from harness.reports.mlflow_database import writing
from harness.reports.mlflow_runs import ID_TAG, sweep_run, write_result
from harness.results import Result

EXPERIMENT = "reprune"
VIEW_TAG = "mlflow.sharedViewState."
# Of the experiment: what its page explains, and that it is no collection of chats.
ABOUT = {
    "mlflow.note.content": tracked.NOTE,
    "mlflow.experimentKind": "custom_model_development",
}
LONGEST_MESSAGE = 2000  # letters; a server's page about its trouble may be a megabyte

_SERVERS = ("http:", "https:", "databricks", "uc:")


def default_tracking_uri() -> str:
    """$MLFLOW_TRACKING_URI, else the sqlite file in the home folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.tracking_database()}"


def _ignore(text: str) -> None:
    """Nobody listens."""


def mirror(result: Result, uri: str | None = None, sweep: str | None = None) -> str:
    """Log one saved result; "" on success, else one line that says why and what to type.

    sweep: name of the sweep it belongs to, whose run becomes the parent of the result's.
    Never raises for a tracking problem: the result is on disk already.
    """
    notes: list[str] = []
    try:
        sync_mlflow([result], uri, notes.append, sweep)
    except Exception as error:  # any store: sqlite, http, PostgreSQL, each with its own errors
        why = mlflow_problem(error, uri or default_tracking_uri())
        return f"{why} The result is saved; mirror it later: bench sync"
    return f"{notes[0]} Bring the earlier results into it: bench sync" if notes else ""


def mlflow_problem(error: Exception, uri: str) -> str:
    """One sentence on why MLflow cannot be used."""
    told = paths.complaint(error) if isinstance(error, OSError) else None
    if told is not None:
        return f"MLflow's database cannot be used: {told}."
    reason = " ".join(str(error).split()).replace(uri, without_password(uri)).rstrip(".")
    reason = reason or type(error).__name__
    if len(reason) > LONGEST_MESSAGE:
        reason = f"{reason[:LONGEST_MESSAGE]}... ({len(reason) - LONGEST_MESSAGE} more letters)"
    if isinstance(error, ImportError):
        if "mlflow" not in reason.lower():
            way = "Its driver is missing; for PostgreSQL: pip install 'psycopg[binary]'"
            return f"MLflow at {without_password(uri)} cannot be used: {reason}. {way}."
        return f"MLflow cannot be imported ({reason}). Install it: pip install mlflow."
    return f"MLflow at {without_password(uri)} cannot be used: {reason}."


def without_password(uri: str) -> str:
    """`uri` without the password that database addresses carry."""
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", uri)


def sync_mlflow(
    results: Iterable[Result],
    uri: str | None = None,
    note: Callable[[str], object] = _ignore,
    sweep: str | None = None,
) -> int:
    """Log every result that the store does not hold whole; how many were logged or completed.

    note: hears of a broken database that was set aside. sweep: see `mirror`.
    """
    logged = 0
    with _client(uri, note) as (client, experiment):
        finished, begun = _known(client, experiment)
        for result in results:
            if result.counts is None:  # weights alone: no run that others could be held against
                continue
            if result.result_id not in finished:
                parent = sweep_run(client, experiment, sweep, result) if sweep else None
                write_result(client, experiment, result, begun.get(result.result_id), parent)
                logged += 1
    return logged


def mlflow_run_table(uri: str | None = None) -> str:
    """Path and query of our run table on MLflow's page, made on first use: `#/experiments/...`.

    The link opens MLflow's pages for trained models, not those for chats, and carries our choice
    of columns (published, measured and their difference side by side) and of rows: results alone.
    """
    state = json.dumps(tracked.view(), separators=(",", ":"))
    key = hashlib.sha256(state.encode()).hexdigest()
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode())).decode()
    with _client(uri) as (client, experiment):
        tags = client.get_experiment(experiment).tags
        for name, value in {VIEW_TAG + key: packed, **ABOUT}.items():
            if tags.get(name) != value:
                client.set_experiment_tag(experiment, name, value)
    return f"#/experiments/{experiment}/runs?viewStateShareKey={key}&workflowType=machine_learning"


def artifact_location(uri: str) -> str | None:
    """Where artifacts of a new experiment go; None leaves it to the server.

    Beside a database of our own, artifacts would otherwise land in whatever folder a command ran.
    """
    return None if uri.startswith(_SERVERS) else (paths.home() / "mlartifacts").as_uri()


@contextmanager
def _client(uri: str | None, note: Callable[[str], object] = _ignore) -> Iterator[tuple[Any, str]]:
    """A client and the id of our experiment, to which no other process of ours writes meanwhile."""
    uri = uri or default_tracking_uri()
    # Before the first import: no telemetry, no link per run among our own output, and a server that
    # is down is found out in seconds instead of after seven growing pauses.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    with warnings.catch_warnings():
        # What MLflow and its libraries deprecate among themselves is not the user's business.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        from mlflow import MlflowClient

        # After the import, which configures logging itself.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        with writing(uri, lambda new: _experiment(MlflowClient(tracking_uri=new)), note):
            client = MlflowClient(tracking_uri=uri)
            yield client, _experiment(client)


def _experiment(client: Any) -> str:
    """Id of our experiment, created on first use."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(
        client.create_experiment(
            EXPERIMENT, artifact_location=artifact_location(client.tracking_uri), tags=ABOUT
        )
    )


def _known(client: Any, experiment: str) -> tuple[set[str], dict[str, str]]:
    """Ids of the results that are mirrored whole, and id -> run of those only begun."""
    finished: set[str] = set()
    begun: dict[str, str] = {}
    token: str | None = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for run in page:
            result_id = run.data.tags.get(ID_TAG)
            if result_id and run.info.status == "FINISHED":
                finished.add(result_id)
            elif result_id:
                begun[result_id] = run.info.run_id
        token = page.token
        if not token:
            return finished, begun
