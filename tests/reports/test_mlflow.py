"""The mirror in MLflow: complete, repeatable, and never in the way of a result."""

from __future__ import annotations

import base64
import csv
import io
import json
import socket
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from harness.registry import plain
from harness.reports import mlflow as tracking
from harness.reports import mlflow_fields, mlflow_runs
from tests.support.results import changes, made, trained

EVALUATED = made(entry="str-a-90", approximate_images=20)
TRAINED = trained(entry="local-gmp", when="20261102T120000Z-00000002")


class Store:
    """One sqlite store for the whole module: creating one takes seconds."""

    def __init__(self, uri: str, first: int, second: int) -> None:
        from mlflow import MlflowClient

        self.uri, self.first, self.second = uri, first, second
        with warnings.catch_warnings():  # MLflow's own libraries deprecate each other's features
            warnings.simplefilter("ignore", DeprecationWarning)
            self.client = MlflowClient(tracking_uri=uri)
            self.experiment = self.client.get_experiment_by_name(tracking.EXPERIMENT)
            self.runs = self.client.search_runs([self.experiment.experiment_id])

    def run(self, entry: str) -> Any:
        [found] = [
            run
            for run in self.runs
            if run.data.tags.get("reprune.entry") == entry and tracking.ID_TAG in run.data.tags
        ]
        return found

    def text(self, run: Any, name: str) -> str:
        place = Path(run.info.artifact_uri.removeprefix("file://"))
        return (place / name).read_text()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    home = tmp_path_factory.mktemp("mirror") / "not" / "there" / "yet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        first = tracking.sync_mlflow([EVALUATED, TRAINED])
        second = tracking.sync_mlflow([TRAINED, EVALUATED])
        yield Store(tracking.default_tracking_uri(), first, second)


def test_the_default_store_is_a_sqlite_file_in_a_home_that_need_not_exist(store: Store) -> None:
    assert store.uri.startswith("sqlite:///")
    assert Path(store.uri.removeprefix("sqlite:///")).name == "mlflow.db"


def test_a_second_sync_adds_nothing(store: Store) -> None:
    assert (store.first, store.second) == (2, 0)
    assert len(store.runs) == 2 + len(TRAINED.runs)


def test_published_measured_and_delta_line_up_as_metrics(store: Store) -> None:
    metrics = store.run("str-a-90").data.metrics
    assert metrics["measured/top1_pct"] == 91.74
    assert metrics["published/top1_pct"] == 91.73
    assert metrics["delta/top1_pct"] == 0.01
    assert metrics["reported/loss"] == 0.25
    assert not {"measured/loss", "published/loss"} & set(metrics)
    assert (metrics["work/nnz"], metrics["work/macs_effective"]) == (148, 110_632)
    assert metrics["work/macs_remaining_pct"] == pytest.approx(25.0, abs=0.001)  # a quarter is left


def test_when_runs_are_compared_delta_measured_and_published_come_first(store: Store) -> None:
    groups = [name.partition("/")[0] for name in sorted(store.run("str-a-90").data.metrics)]
    assert list(dict.fromkeys(groups)) == ["delta", "measured", "published", "reported", "work"]


def test_entry_facts_are_parameters_and_tags(store: Store) -> None:
    run = store.run("str-a-90")
    assert run.data.params == {
        "method": "str",
        "model": "resnet20",
        "dataset": "cifar10",
        "mode": "evaluated",
        "settings.sparsity": "0.75",
    }
    tags = run.data.tags
    assert (tags["reprune.protocol"], tags["reprune.n_images"]) == ("cifar10 v1", "10000")
    assert tags["reprune.result_id"] == EVALUATED.result_id
    assert tags["reprune.verdict"] == "exact"
    assert tags["reprune.paper"] == "str"
    assert tags["reprune.checkpoint_sha256"] == "c" * 64
    assert {name: tags[f"reprune.{name}"] for name in ("method", "model", "dataset", "mode")} == {
        "method": "str",
        "model": "resnet20",
        "dataset": "cifar10",
        "mode": "evaluated",
    }
    assert run.info.run_name == "str-a-90"
    assert run.info.status == "FINISHED"


def test_the_whole_result_and_its_layers_are_artifacts(store: Store) -> None:
    run = store.run("str-a-90")
    assert json.loads(store.text(run, "result.json")) == plain(EVALUATED)
    rows = list(csv.DictReader(io.StringIO(store.text(run, "layers.csv"))))
    assert rows[0] == {
        "layer": "conv1",
        "kind": "conv",
        "shape": "16x3x3x3",
        "total": "432",
        "nnz": "108",
        "macs_dense": "442368",
        "macs_effective": "110592",
    }
    assert [row["layer"] for row in rows] == ["conv1", "fc"]


def test_every_seed_is_a_child_run_with_its_curve(store: Store) -> None:
    parent = store.run("local-gmp")
    children = [
        run for run in store.runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    assert sorted(run.data.params["seed"] for run in children) == ["0", "1", "2"]
    [first] = [run for run in children if run.data.params["seed"] == "0"]
    assert first.data.metrics["measured/top1_pct"] == 90.0
    curve = store.client.get_metric_history(first.info.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(0, 1.5), (1, 0.5)]
    assert {name: first.data.params[name] for name in ("method", "model", "dataset")} == {
        "method": "gmp",
        "model": "resnet20",
        "dataset": "cifar10",
    }
    assert parent.data.metrics["measured/top1_pct"] == 91.0
    assert parent.data.metrics["measured/top1_pct_std"] == 1.0  # of 90, 91 and 92
    assert parent.data.tags["reprune.recipe"] == "cifar10-short v2"
    assert parent.data.tags["reprune.seeds"] == "3"


def test_the_evaluated_images_are_the_runs_data_set(store: Store) -> None:
    [used] = store.run("str-a-90").inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("cifar10", "f" * 12)
    assert [tag.value for tag in used.tags] == ["test"]


def test_the_link_to_the_run_table_carries_its_columns(store: Store) -> None:
    link = tracking.mlflow_run_table(store.uri)
    page, _, query = link.partition("?")
    asked = parse_qs(query)
    assert page == f"#/experiments/{store.experiment.experiment_id}/runs"
    assert asked["workflowType"] == ["machine_learning"]  # else the pages for chats open
    [key] = asked["viewStateShareKey"]
    tags = store.client.get_experiment(store.experiment.experiment_id).tags
    packed = tags[f"mlflow.sharedViewState.{key}"].removeprefix("deflate;")
    view = json.loads(zlib.decompress(base64.b64decode(packed)))
    for group in ("delta", "measured", "published"):
        assert f"metrics.`{group}/top1_pct`" in view["selectedColumns"]
    assert tracking.mlflow_run_table(store.uri) == link  # made once
    shown = store.client.search_runs([store.experiment.experiment_id], view["searchFilter"])
    assert {"str-a-90", "local-gmp"} <= {run.data.tags["reprune.entry"] for run in shown}
    assert not any(mlflow_runs.PARENT_TAG in run.data.tags for run in shown)  # no seed among them
    assert tags["mlflow.experimentKind"] == "custom_model_development"


@pytest.mark.parametrize(
    ("entry", "paper", "name"),
    [
        ("local-str-resnet20-cifar10-0.9", None, "0.9 str-resnet20-cifar10"),
        ("local-str-resnet20-cifar10-0.5-lr0.1", None, "0.5-lr0.1 str-resnet20-cifar10"),
        ("local-str-resnet20-cifar10", None, "str-resnet20-cifar10"),
        ("local-mine", None, "mine"),
        ("str-resnet20-cifar10-90", "str", "str-resnet20-cifar10-90"),
    ],
)
def test_a_runs_name_begins_with_what_differs(entry: str, paper: str | None, name: str) -> None:
    assert mlflow_fields.run_name(made(entry=entry, paper=paper)) == name


def test_what_was_changed_of_a_recipe_is_a_parameter() -> None:
    result = made(overrides=changes(("optimizer.lr", 0.05, 0.1)))
    assert mlflow_fields.parameters(result)["optimizer.lr"] == "0.05"


class Counting:
    """A client that counts the calls that a server would answer."""

    def __init__(self, client: Any) -> None:
        self._client, self.calls = client, []

    def __getattr__(self, name: str) -> Any:
        if callable(got := getattr(self._client, name)):
            self.calls.append(name)
        return got


def test_a_result_is_written_in_four_calls_and_a_seed_in_three(store: Store) -> None:
    experiment = store.experiment.experiment_id
    for result, most in (
        (made(entry="counted-one", when="20261104T120000Z-00000001"), 4),
        (trained(entry="counted-seeds", when="20261104T120000Z-00000002"), 4 + 3 * 3),
    ):
        counting = Counting(store.client)
        mlflow_runs.write_result(counting, experiment, result, None, None)
        assert len(counting.calls) == most, counting.calls


class PulledPlug(BaseException):
    """The process ends in the middle."""


CUTS = [
    ("log_batch", 1),
    ("log_inputs", 1),
    ("log_batch", 3),
    ("set_terminated", 4),
]


@pytest.mark.parametrize(("step", "call"), CUTS)
def test_an_interrupted_mirror_is_found_and_completed_in_place(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    from mlflow import MlflowClient

    number = CUTS.index((step, call))
    result = trained(entry=f"cut-{step}-{call}", when=f"20261103T120000Z-{number:08x}")
    whole, calls = getattr(MlflowClient, step), []

    def cut(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == call:
            raise PulledPlug
        return whole(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(PulledPlug):
        patch.setattr(MlflowClient, step, cut)
        tracking.sync_mlflow([result], store.uri)
    assert tracking.sync_mlflow([result], store.uri) == 1
    assert tracking.sync_mlflow([result], store.uri) == 0
    runs = store.client.search_runs(
        [store.experiment.experiment_id],
        filter_string=f"tags.`reprune.entry` = '{result.entry}'",
    )
    parents = [run for run in runs if tracking.ID_TAG in run.data.tags]
    seeds = [run.data.params.get("seed") for run in runs if run not in parents]
    assert [run.data.tags[tracking.ID_TAG] for run in parents] == [result.result_id]
    assert sorted(seeds) == ["0", "1", "2"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        for name in run.data.metrics:  # written once, whatever was repeated
            history = store.client.get_metric_history(run.info.run_id, name)
            assert len({(p.step, p.value) for p in history}) == len(history)
    assert store.text(parents[0], "layers.csv").startswith("layer,")


def test_no_mlflow_is_one_line_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    told = tracking.mirror(EVALUATED, "sqlite:///unused.db")
    assert "\n" not in told
    assert "MLflow cannot be imported" in told
    assert told.endswith("The result is saved; mirror it later: bench sync")


# Two attempts with one pause: without our limits MLflow tries for minutes.
SECONDS_FOR_A_DEAD_SERVER = 20


def test_a_server_that_is_down_is_one_line_and_found_out_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as reserved:  # bound, never listening: nobody else gets the port
        reserved.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        started = time.monotonic()
        told = tracking.mirror(EVALUATED, uri)
    assert time.monotonic() - started < SECONDS_FOR_A_DEAD_SERVER
    assert "\n" not in told
    assert told.startswith(f"MLflow at {uri} cannot be used: ")
    assert told.endswith("mirror it later: bench sync")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("postgresql://me:secret@db.example:5432/runs", "postgresql://me:***@db.example:5432/runs"),
        ("postgresql+psycopg2://me:s3%21@db/runs", "postgresql+psycopg2://me:***@db/runs"),
        ("https://me:secret@mlflow.example/", "https://me:***@mlflow.example/"),
        ("postgresql://me@db.example/runs", "postgresql://me@db.example/runs"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_addresses_are_shown_without_their_password(uri: str, told: str) -> None:
    assert tracking.without_password(uri) == told
    assert told in tracking.mlflow_problem(ValueError(f"no way to {uri}"), uri)
    assert "secret" not in tracking.mlflow_problem(ValueError(f"no way to {uri}"), uri)


@pytest.mark.parametrize(
    ("uri", "ours"),
    [
        ("sqlite:////somewhere/mlflow.db", True),
        ("postgresql://me@db.example/runs", True),
        ("mysql+pymysql://me@db.example/runs", True),
        ("http://127.0.0.1:5000", False),
        ("https://mlflow.example", False),
        ("databricks", False),
    ],
)
def test_artifacts_of_a_database_lie_in_the_home_and_those_of_a_server_with_it(
    uri: str, ours: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    place = (tmp_path / "mlartifacts").as_uri() if ours else None
    assert tracking.artifact_location(uri) == place


def test_what_a_server_says_of_its_trouble_is_whole_unless_it_is_a_book() -> None:
    words = "Response body: " + "the disk of the server is full; " * 30
    assert words.strip() in tracking.mlflow_problem(ValueError(words), "http://host.example")
    told = tracking.mlflow_problem(ValueError("x" * 5000), "http://host.example")
    assert "x" * 2000 + "... (3000 more letters)" in told and "x" * 2001 not in told


def test_a_missing_database_driver_is_not_taken_for_a_missing_mlflow() -> None:
    told = tracking.mlflow_problem(
        ImportError("No module named 'psycopg'"), "postgresql://me@db/runs"
    )
    assert told.startswith("MLflow at postgresql://me@db/runs cannot be used: No module named")
    assert "pip install 'psycopg[binary]'" in told


def test_mlflow_prints_nothing_among_our_own_output(store: Store) -> None:
    from mlflow.environment_variables import MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT as SILENT

    assert SILENT.get() is True  # a server's client would print two lines per run


def test_the_environment_chooses_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server.example:5000")
    assert tracking.default_tracking_uri() == "http://server.example:5000"


def test_results_of_a_sweep_have_one_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed runs below results, results below the sweep, whose run is made once."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for when in ("20261103T120000Z-00000003", "20261103T120000Z-00000004"):
        result = trained(entry=f"local-cell-{when[-1]}", when=when)
        assert tracking.mirror(result, sweep="sweep-abc") == ""
    runs = Store(tracking.default_tracking_uri(), 0, 0).runs
    [sweep] = [run for run in runs if run.data.tags.get(mlflow_runs.SWEEP_TAG) == "sweep-abc"]
    cells = [run for run in runs if run.data.tags.get(mlflow_runs.PARENT_TAG) == sweep.info.run_id]
    names = {run.data.tags["reprune.entry"] for run in cells}
    assert names == {"local-cell-3", "local-cell-4"} and len(cells) == 2
    below = {run.data.tags.get(mlflow_runs.PARENT_TAG) for run in runs}
    assert {cell.info.run_id for cell in cells} <= below
