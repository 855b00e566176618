"""What a finished run keeps, and what older ones kept otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from harness.training.run_folder import RunFolder

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
