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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from harness import paths
from harness.reports import mlflow_fields as tracked
from harness.reports.mlflow_database import writing
from harness.results import Result, Run, as_json, file_of

EXPERIMENT = "reprune"
ID_TAG = "reprune.result_id"
SEED_TAG = "reprune.seed"
SWEEP_TAG = "reprune.sweep"
PARENT_TAG = "mlflow.parentRunId"
VIEW_TAG = "mlflow.sharedViewState."
# Of the experiment: what its page explains, and that it is no collection of chats.
ABOUT = {
    "mlflow.note.content": tracked.NOTE,
    "mlflow.experimentKind": "custom_model_development",
}
POINTS_PER_CALL = 1000  # MLflow's limit

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
    reason = " ".join(str(error).split()).replace(uri, without_password(uri))[:300].rstrip(".")
    reason = reason or type(error).__name__
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
                parent = _sweep_run(client, experiment, sweep, result) if sweep else None
                _log(client, experiment, result, begun.get(result.result_id), parent)
                logged += 1
    return logged


def mlflow_run_table(uri: str | None = None) -> str:
    """Path and query of our run table on MLflow's page, made on first use: `#/experiments/...`.

    The link carries our choice of columns: published, measured and their difference side by side.
    """
    state = json.dumps(tracked.view(), separators=(",", ":"))
    key = hashlib.sha256(state.encode()).hexdigest()
    packed = "deflate;" + base64.b64encode(zlib.compress(state.encode())).decode()
    with _client(uri) as (client, experiment):
        tags = client.get_experiment(experiment).tags
        for name, value in {VIEW_TAG + key: packed, **ABOUT}.items():
            if tags.get(name) != value:
                client.set_experiment_tag(experiment, name, value)
    return f"#/experiments/{experiment}/runs?viewStateShareKey={key}"


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
            EXPERIMENT, artifact_location=artifact_location(client.tracking_uri)
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


def _sweep_run(client: Any, experiment: str, sweep: str, result: Result) -> str:
    """The run that is the parent of a sweep's results, made with its first one."""
    wanted = f"tags.`{SWEEP_TAG}` = '{sweep}'"
    found = client.search_runs([experiment], filter_string=wanted, max_results=1)
    if found:
        return str(found[0].info.run_id)
    stamp = tracked.created_ms(result)
    run_id = _create(client, experiment, sweep, stamp, {SWEEP_TAG: sweep})
    client.set_terminated(run_id, end_time=stamp)
    return run_id


def _log(
    client: Any, experiment: str, result: Result, begun: str | None, parent: str | None
) -> None:
    """Write one result into a new run, or once more into one that was only begun."""
    stamp = tracked.created_ms(result)
    tags = {ID_TAG: result.result_id, **({PARENT_TAG: parent} if parent else {})}
    run_id = begun or _create(client, experiment, result.entry, stamp, tags)
    points = [(name, value, 0) for name, value in tracked.metrics(result).items()]
    _write(client, run_id, stamp, points, tracked.parameters(result), tracked.tags(result))
    client.log_inputs(run_id, [_dataset(result)])
    client.log_text(run_id, as_json(result), "result.json")
    client.log_text(run_id, tracked.layer_csv(result), "layers.csv")
    beside = file_of(result.entry, result.result_id).parent
    for picture in sorted(beside.glob(f"{result.result_id}*.png")):
        client.log_artifact(run_id, str(picture))
    children = _children(client, experiment, run_id) if begun else {}
    for seed in result.runs:
        _log_seed(client, experiment, run_id, result, seed, children.get(str(seed.seed)))
    client.set_terminated(run_id, end_time=stamp + int(1000 * result.wall_s))


def _log_seed(
    client: Any, experiment: str, parent: str, result: Result, seed: Run, begun: str | None
) -> None:
    stamp = tracked.created_ms(result)
    tags = {PARENT_TAG: parent, SEED_TAG: str(seed.seed), "reprune.entry": result.entry}
    name = f"{result.entry} seed {seed.seed}"
    run_id = begun or _create(client, experiment, name, stamp, tags)
    parameters = tracked.seed_parameters(result, seed)
    _write(client, run_id, stamp, tracked.seed_metrics(seed), parameters, {})
    client.set_terminated(run_id, end_time=stamp + int(1000 * seed.wall_s))


def _create(client: Any, experiment: str, name: str, stamp: int, tags: dict[str, str]) -> str:
    run = client.create_run(experiment, run_name=name, start_time=stamp, tags=tags)
    return str(run.info.run_id)


def _children(client: Any, experiment: str, parent: str) -> dict[str, str]:
    """Seed -> run of the children that an interrupted mirror left."""
    wanted = f"tags.`{PARENT_TAG}` = '{parent}'"
    page = client.search_runs([experiment], filter_string=wanted, max_results=1000)
    return {run.data.tags[SEED_TAG]: run.info.run_id for run in page if SEED_TAG in run.data.tags}


def _write(
    client: Any,
    run_id: str,
    stamp: int,
    points: list[tuple[str, float, int]],
    parameters: Mapping[str, str],
    tags: Mapping[str, str],
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    for start in range(0, len(points), POINTS_PER_CALL):
        batch = points[start : start + POINTS_PER_CALL]
        client.log_batch(run_id, metrics=[Metric(name, v, stamp, step) for name, v, step in batch])
    client.log_batch(
        run_id,
        params=[Param(name, value) for name, value in parameters.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def _dataset(result: Result) -> Any:
    """The evaluated images, by name and content."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data, _ = result.seen
    digest = data.fingerprint[:12]
    source = json.dumps({"split": data.split, "copy": data.copy_name})
    images = Dataset(data.dataset, digest, source_type="reprune", source=source)
    return DatasetInput(images, tags=[InputTag("mlflow.data.context", data.split)])
