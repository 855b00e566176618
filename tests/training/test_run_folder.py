"""What a finished run keeps, and what older ones kept otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness import paths
from harness.registry import plain
from harness.training.run_folder import RunFolder, finished_run, folder_name
from tests.support.results import trained

CLASSES = np.array([3, 999, 0], np.uint16)


def test_predictions_lie_beside_the_weights_and_not_in_done_json(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "key")
    folder.finish({}, CLASSES, {"run": {}})
    done = folder.finished()
    assert done is not None and "predictions" not in done
    assert folder.predictions(done).tolist() == CLASSES.tolist()
    assert folder.predictions(done).dtype == np.uint16


def test_predictions_of_a_run_of_before_are_read_from_its_list(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "key")
    (tmp_path / "done.json").write_text(json.dumps({"key": "key", "predictions": [3, 999, 0]}))
    done = folder.finished()
    assert done is not None
    found = folder.predictions(done)
    assert (found.dtype, found.tolist()) == (np.uint16, CLASSES.tolist())


def test_a_stored_run_is_found_by_its_key_and_no_other_file_is_read(home: Path) -> None:
    (run,) = trained().runs[:1]
    run = replace(run, key="ab" * 32)
    for entry, key in (("a", "ab" * 32), ("b", "cd" * 32)):
        folder = RunFolder(paths.runs_folder() / entry / folder_name(key, run.seed), key)
        folder.finish({}, np.zeros(2, np.uint16), {"run": plain(replace(run, key=key))})
    (paths.runs_folder() / "b" / folder_name("cd" * 32, run.seed) / "done.json").write_text("{")
    found = finished_run(run)
    assert found is not None and found.path.parent.name == "a"
    assert finished_run(replace(run, key="ef" * 32)) is None


def test_another_final_network_of_a_training_is_not_its_run(home: Path) -> None:
    (run,) = trained().runs[:1]
    run = replace(run, key="ab" * 32)
    folder = RunFolder(paths.runs_folder() / "a" / folder_name(run.key, run.seed), run.key)
    folder.finish({}, np.zeros(2, np.uint16), {"run": plain(run)})
    assert finished_run(replace(run, figures={"kept_pct": 100.0})) is None


def test_runs_of_before_keys_were_stored_are_found_by_what_they_say(home: Path) -> None:
    (run,) = trained().runs[:1]
    folder = RunFolder(paths.runs_folder() / "a" / folder_name("ab" * 32, run.seed), "ab" * 32)
    folder.finish({}, np.zeros(2, np.uint16), {"run": plain(run)})
    found = finished_run(run)
    assert found is not None and found.path == folder.path
