"""`bench sync`: what MLflow lacks is mirrored later, once."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from harness import paths, results
from harness.reports import mlflow as tracking
from tests.commands.conftest import Bench, document
from tests.support.results import made


@pytest.mark.slow
def test_results_saved_while_mlflow_was_absent_are_mirrored_once(
    bench: Bench, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.save(made())
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "mlflow", None)
        assert tracking.mirror(made()) != ""
        done = bench("sync")
        assert done.exit_code == 1
        assert "MLflow cannot be imported" in done.stderr
        assert "pip install mlflow" in done.stderr
    uri = f"sqlite:///{home}/mlflow.db"
    first = bench("sync", "--json")
    assert first.exit_code == 0, first.stderr
    assert document(first) == {"mirrored": 1, "stored": 1, "tracking_uri": uri}
    assert document(bench("sync", "--json"))["mirrored"] == 0
    assert bench("sync").stdout == f"0 of 1 results mirrored now to {uri}\n"


def test_a_server_that_is_down_is_one_line(bench: Bench) -> None:
    with socket.socket() as reserved:  # bound, never listening
        reserved.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        done = bench("sync", "--tracking-uri", uri)
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"bench: MLflow at {uri} cannot be used: ")


def test_a_damaged_result_is_not_blamed_on_mlflow(bench: Bench) -> None:
    results.save(made(entry="a-1")).write_text("{")
    done = bench("sync")
    assert done.exit_code == 0  # it is named and left out
    assert "a-1/20261101T120000Z-00000001.json" in done.stderr
    assert "MLflow" not in done.stderr


def test_whatever_measures_mirrors_its_results(bench: Bench) -> None:
    entry = "dense-convnet-tiny-digits"
    weights = paths.shipped_checkpoints() / f"{entry}.safetensors"
    own = ("--model", "convnet_tiny", "--dataset", "digits")
    short = ("--set", "epochs=1", "--name", "local-short")
    for command in (
        ("reproduce", entry),
        ("check", entry, "--offline"),
        ("eval", *own, "--weights", weights),
        ("train", "--method", "dense", *own, *short),
    ):
        before = len(list(results.load_all()))
        done = bench(*command)
        assert done.exit_code == 0, done.output
        assert len(list(results.load_all())) == before + 1
        assert document(bench("sync", "--json"))["mirrored"] == 0
