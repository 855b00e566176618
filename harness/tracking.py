"""Mirror of the results in MLflow. The JSON files are the record; a lost mirror loses nothing.

One run per result, named after the entry and tagged with the result id, so that `sync` can be
repeated. Metrics come in groups that line up in MLflow's compare view: measured/..., published/...,
delta/...; trained results get one child run per seed with its learning curve.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from harness import paths
from harness.results import Result, Run

EXPERIMENT = "reprune"
ID_TAG = "reprune.result_id"


def default_uri() -> str:
    """$MLFLOW_TRACKING_URI, else the sqlite file in the home folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.tracking_database()}"


def mirror(result: Result, uri: str | None = None) -> str:
    """Log one saved result; "" on success, else one line that says why and what to type.

    Never raises for a tracking problem: the result is on disk already.
    """
    try:
        sync([result], uri)
    except Exception as error:  # any store: sqlite, http, PostgreSQL, each with its own errors
        why = why_not(error, uri or default_uri())
        return f"{why} The result is saved; mirror it later: bench sync"
    return ""


def why_not(error: Exception, uri: str) -> str:
    """One sentence on why MLflow cannot be used."""
    reason = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
    if isinstance(error, ImportError):
        return f"MLflow cannot be imported ({reason}). Install it: pip install mlflow."
    return f"MLflow at {uri} cannot be used: {reason}."


def sync(results: Iterable[Result], uri: str | None = None) -> int:
    """Log every result that the store does not hold yet; how many were logged."""
    logged = 0
    with _client(uri) as (client, experiment):
        known = _known(client, experiment)
        for result in results:
            if result.result_id not in known:
                _log(client, experiment, result)
                logged += 1
    return logged


def experiment_id(uri: str | None = None) -> str:
    """Id of our experiment, created on first use; for the address of its run table."""
    with _client(uri) as (_, experiment):
        return experiment


@contextmanager
def _client(uri: str | None) -> Iterator[tuple[Any, str]]:
    # Before the first import: no telemetry, no migration chatter on the user's terminal, and a
    # server that is down is found out in seconds instead of after seven growing pauses.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    if not uri:
        paths.tracking_database().parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # What MLflow and its libraries deprecate among themselves is not the user's business.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        from mlflow import MlflowClient

        # After the import, which configures logging itself.
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        client = MlflowClient(tracking_uri=uri or default_uri())
        yield client, _experiment(client, uri or default_uri())


def _experiment(client: Any, uri: str) -> str:
    """Id of our experiment, created on first use; artifacts of a sqlite store lie beside it."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    location = (paths.home() / "mlartifacts").as_uri() if uri.startswith("sqlite:") else None
    return str(client.create_experiment(EXPERIMENT, artifact_location=location))


def _known(client: Any, experiment: str) -> set[str]:
    known: set[str] = set()
    token: str | None = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        known.update(run.data.tags[ID_TAG] for run in page if ID_TAG in run.data.tags)
        token = page.token
        if not token:
            return known


def _log(client: Any, experiment: str, result: Result) -> None:
    from mlflow.entities import Metric, Param, RunTag

    stamp = _milliseconds(result)
    run = client.create_run(experiment, run_name=result.entry, start_time=stamp)
    run_id = run.info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, stamp, 0) for name, value in _metrics(result).items()],
        params=[Param(name, str(value)[:500]) for name, value in _params(result).items()],
        tags=[RunTag(name, str(value)) for name, value in _tags(result).items() if value],
    )
    client.log_text(run_id, result.model_dump_json(indent=1), "result.json")
    client.log_text(run_id, _layer_csv(result), "layers.csv")
    picture = paths.results_folder() / result.entry / f"{result.result_id}.png"
    if picture.exists():
        client.log_artifact(run_id, str(picture))
    for seed in result.runs:
        _log_seed(client, experiment, run_id, result, seed)
    # The id goes last: an interrupted mirror is repeated, never mistaken for a whole one.
    client.set_tag(run_id, ID_TAG, result.result_id)
    client.set_terminated(run_id, end_time=stamp + int(1000 * result.wall_s))


def _log_seed(client: Any, experiment: str, parent: str, result: Result, seed: Run) -> None:
    from mlflow.entities import Metric, Param, RunTag

    stamp = _milliseconds(result)
    run = client.create_run(
        experiment, run_name=f"{result.entry} seed {seed.seed}", start_time=stamp
    )
    points = [
        Metric(name, value, stamp, int(row.get("epoch", step)))
        for step, row in enumerate(seed.history)
        for name, value in row.items()
        if name != "epoch"
    ]
    points.append(Metric("measured/top1_pct", seed.counts.top1_pct, stamp, 0))
    for start in range(0, len(points), 1000):  # MLflow's limit per call
        client.log_batch(run.info.run_id, metrics=points[start : start + 1000])
    client.log_batch(
        run.info.run_id,
        params=[Param("seed", str(seed.seed)), Param("steps", str(seed.steps))],
        tags=[RunTag("mlflow.parentRunId", parent), RunTag("reprune.entry", result.entry)],
    )
    client.set_terminated(run.info.run_id, end_time=stamp + int(1000 * seed.wall_s))


def _metrics(result: Result) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, comparison in result.metrics.items():
        if comparison.measured is not None:
            values[f"measured/{name}"] = comparison.measured
        if comparison.published is not None:
            values[f"published/{name}"] = float(comparison.published)
        if comparison.delta is not None:
            values[f"delta/{name}"] = comparison.delta
    cost = result.cost
    values |= {
        "cost/nnz": cost.nnz,
        "cost/params": cost.params,
        "cost/macs_dense": cost.macs_dense,
        "cost/macs_effective": cost.macs_effective,
    }
    return values


def _params(result: Result) -> dict[str, Any]:
    chosen = {
        "method": result.method,
        "model": result.model,
        "dataset": result.dataset,
        "mode": result.mode,
        "protocol": f"{result.protocol.name} v{result.protocol.version}",
        "recipe": f"{result.recipe.name} v{result.recipe.version}" if result.recipe else None,
        "n_images": result.data.n,
        "seeds": len(result.runs) or None,
    }
    flat = {f"settings.{name}": value for name, value in result.settings.items()}
    return {name: value for name, value in {**chosen, **flat}.items() if value is not None}


def _tags(result: Result) -> dict[str, Any]:
    return {
        "reprune.entry": result.entry,
        "reprune.paper": result.paper,
        "reprune.method": result.method,
        "reprune.model": result.model,
        "reprune.dataset": result.dataset,
        "reprune.mode": result.mode,
        "reprune.verdict": result.verdict.status,
        "reprune.reason": result.verdict.reason,
        "reprune.granularity": result.granularity,
        "reprune.smoke": result.smoke,
        "reprune.data": f"{result.data.copy_name}, {result.data.fingerprint[:12]}",
        "reprune.checkpoint_sha256": result.checkpoint.sha256 if result.checkpoint else "",
        "reprune.machine": result.hardware.get("machine", ""),
        "mlflow.source.git.commit": result.code.get("commit") or "",
    }


def _layer_csv(result: Result) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("layer", "kind", "shape", "total", "nnz", "macs_dense", "macs_effective"))
    for x in result.cost.layers:
        shape = "x".join(map(str, x.shape))
        writer.writerow((x.name, x.kind, shape, x.total, x.nnz, x.macs_dense, x.macs_effective))
    return out.getvalue()


def _milliseconds(result: Result) -> int:
    from datetime import datetime

    return int(1000 * datetime.fromisoformat(result.created).timestamp())
