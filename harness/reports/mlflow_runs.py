"""One result written into MLflow: its run, and a run for each of its seeds below it.

A server answers a call in tens of milliseconds, whatever it carries: a run is made with all its
tags, and its numbers follow in one batch.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import copy
from typing import Any

from harness.reports import mlflow_fields as tracked
from harness.results import Result, Run, as_json, file_of

ID_TAG = tracked.ID_TAG
SEED_TAG = "reprune.seed"
SWEEP_TAG = "reprune.sweep"
PARENT_TAG = "mlflow.parentRunId"
POINTS_PER_CALL = 900  # MLflow's limit is 1000, parameters and tags included

Point = tuple[str, float, int]  # name, value, step


def write_result(
    client: Any, experiment: str, result: Result, begun: str | None, parent: str | None
) -> None:
    """Write one result into a new run, or once more into one that was only begun.

    begun, parent: ids of runs. The run is finished last, when everything below it is.
    """
    stamp = tracked.created_ms(result)
    tags = {ID_TAG: result.result_id, **({PARENT_TAG: parent} if parent else {})}
    tags |= tracked.tags(result)
    if begun:
        run = client.get_run(begun)
    else:
        run = _created(client, experiment, tracked.run_name(result), stamp, tags)
    points = [(name, value, 0) for name, value in tracked.metrics(result).items()]
    _write(client, run.info.run_id, stamp, points, tracked.parameters(result))
    client.log_inputs(run.info.run_id, [_dataset(result)])
    _write_files(client, run, result)
    children = _children(client, experiment, run.info.run_id) if begun else {}
    for seed in result.runs:
        _write_seed(client, experiment, run.info.run_id, result, seed, children)
    client.set_terminated(run.info.run_id, end_time=stamp + int(1000 * result.wall_s))


def sweep_run(client: Any, experiment: str, sweep: str, result: Result) -> str:
    """The run that is the parent of a sweep's results, made with its first one."""
    wanted = f"tags.`{SWEEP_TAG}` = '{sweep}'"
    found = client.search_runs([experiment], filter_string=wanted, max_results=1)
    if found:
        return str(found[0].info.run_id)
    stamp = tracked.created_ms(result)
    run = _created(client, experiment, sweep, stamp, {SWEEP_TAG: sweep})
    client.set_terminated(run.info.run_id, end_time=stamp)
    return str(run.info.run_id)


def _write_seed(
    client: Any,
    experiment: str,
    parent: str,
    result: Result,
    seed: Run,
    begun: Mapping[str, str],
) -> None:
    stamp = tracked.created_ms(result)
    run_id = begun.get(str(seed.seed))
    if run_id is None:
        tags = {PARENT_TAG: parent, SEED_TAG: str(seed.seed), "reprune.entry": result.entry}
        name = f"seed {seed.seed} {tracked.run_name(result)}"
        run_id = _created(client, experiment, name, stamp, tags).info.run_id
    parameters = tracked.seed_parameters(result, seed)
    _write(client, run_id, stamp, tracked.seed_metrics(seed), parameters)
    client.set_terminated(run_id, end_time=stamp + int(1000 * seed.wall_s))


def _created(client: Any, experiment: str, name: str, stamp: int, tags: dict[str, str]) -> Any:
    return client.create_run(experiment, run_name=name, start_time=stamp, tags=tags)


def _children(client: Any, experiment: str, parent: str) -> dict[str, str]:
    """Seed -> run of the children that an interrupted mirror left."""
    wanted = f"tags.`{PARENT_TAG}` = '{parent}'"
    page = client.search_runs([experiment], filter_string=wanted, max_results=1000)
    return {run.data.tags[SEED_TAG]: run.info.run_id for run in page if SEED_TAG in run.data.tags}


def _write(
    client: Any, run_id: str, stamp: int, points: Sequence[Point], parameters: Mapping[str, str]
) -> None:
    from mlflow.entities import Metric, Param

    metrics = [Metric(name, value, stamp, step) for name, value, step in points]
    chosen = [Param(name, value) for name, value in parameters.items()]
    client.log_batch(run_id, metrics=metrics[:POINTS_PER_CALL], params=chosen)
    for start in range(POINTS_PER_CALL, len(metrics), POINTS_PER_CALL):
        client.log_batch(run_id, metrics=metrics[start : start + POINTS_PER_CALL])


def _write_files(client: Any, run: Any, result: Result) -> None:
    """The record itself, its layers as a table and its pictures, among the run's artifacts."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    beside = file_of(result.entry, result.result_id).parent
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "result.json").write_text(as_json(result), encoding="utf-8")
        (Path(folder) / "layers.csv").write_text(tracked.layer_csv(result), encoding="utf-8")
        for picture in sorted(beside.glob(f"{result.result_id}*.png")):
            copy(picture, folder)
        # Not by the client, which would ask the server first where the run that it made lies.
        place = get_artifact_repository(run.info.artifact_uri, tracking_uri=client.tracking_uri)
        place.log_artifacts(folder)


def _dataset(result: Result) -> Any:
    """The evaluated images, by name and content."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data, _ = result.seen
    digest = data.fingerprint[:12]
    source = json.dumps({"split": data.split, "copy": data.copy_name})
    images = Dataset(data.dataset, digest, source_type="reprune", source=source)
    return DatasetInput(images, tags=[InputTag("mlflow.data.context", data.split)])
