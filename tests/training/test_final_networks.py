"""One training run hands over several final networks, and entries share equal runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import paths, registry
from harness.errors import ProtocolError
from harness.registry.method_choice import make_method, without_choices
from harness.registry.own_runs import local_training
from harness.results.schema import Result
from harness.system.options import Options
from harness.training import Training, reproduce_by_training
from harness.training.run_folder import RunFolder

SHORT: dict[str, object] = {"steps": 6, "settings.candidates": 4, "batch": 64}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))


def trained(name: str, method: str = "edropout", **overrides: object) -> Result:
    held = registry.load()
    entry, recipe, changed = local_training(
        held,
        method=method,
        model="convnet_tiny",
        dataset="digits",
        name=name,
        overrides={**SHORT, **overrides},
    )
    return reproduce_by_training(entry, held, recipe, Options(), Training(overrides=changed))


def folders() -> list[str]:
    return [path.parent.parent.name for path in paths.runs_folder().glob("*/*/done.json")]


def test_epochs_of_fewer_batches_are_told() -> None:
    result = trained("short", **{"settings.batches_per_epoch": 2})

    assert result.runs[0].steps == 2
    assert "settings.batches_per_epoch 2 instead of all" in result.notes


@pytest.mark.parametrize("method", ["ipruning", "edropout"])
def test_the_full_network_comes_from_the_run_of_the_pruned_one(method: str) -> None:
    pruned = trained("p", method)
    full = trained("f", method, **{"settings.network": "full"})

    assert folders() == ["p"]
    assert full.runs[0].history == pruned.runs[0].history  # trained once, wall times included
    assert full.runs[0].wall_s == pruned.runs[0].wall_s
    assert full.cost.nnz == full.cost.total > pruned.cost.nnz
    assert full.cost.extra["kept_pct"] == pytest.approx(100)
    assert pruned.cost.extra["kept_pct"] < 100
    assert full.predictions_sha256 != pruned.predictions_sha256


def test_either_network_may_be_asked_for_first() -> None:
    full = trained("f", **{"settings.network": "full"})
    pruned = trained("p")
    again = trained("f", **{"settings.network": "full"})

    assert folders() == ["f"]
    assert again.counts == full.counts and again.predictions_sha256 == full.predictions_sha256
    assert pruned.cost.nnz < full.cost.nnz


def test_what_moves_the_training_is_trained_again() -> None:
    trained("a")
    trained("b", **{"settings.p_init": 0.9})

    assert sorted(folders()) == ["a", "b"]


def test_choices_leave_recipe_and_settings_of_other_methods_alone() -> None:
    recipe = registry.load().recipes["digits-short"]
    settings = {"network": "x", "sparsity": 0.5}

    assert without_choices("magnitude", recipe, settings) == (recipe, settings)
    assert without_choices("ipruning", recipe, settings)[1] == {"sparsity": 0.5}


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ProtocolError, match="network"):
        make_method("ipruning", {"network": "half"})


def test_a_run_without_its_end_says_how_to_get_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "e" / "0123-seed0", "k")
    state: dict[str, Any] = {"model": {"w": torch.ones(1)}, "method": {}, "optimizer": {"m": 1}}
    with pytest.raises(ProtocolError, match="--fresh"):
        folder.load_end()

    folder.save_state(state)
    folder.keep_end()

    assert set(folder.load_end()) == {"key", "model", "method"}


def test_an_unfinished_twin_is_not_taken_over(tmp_path: Path) -> None:
    twin = RunFolder(tmp_path / "a" / "0123-seed0", "k")
    wanted = RunFolder(tmp_path / "b" / "0123-seed0", "k")
    twin.save_state({"model": {}})
    assert wanted.or_finished_twin() is wanted

    twin.finish({}, np.zeros(0, np.uint16), {})
    assert wanted.or_finished_twin().path == twin.path
    assert RunFolder(wanted.path, "other").or_finished_twin().path == wanted.path
