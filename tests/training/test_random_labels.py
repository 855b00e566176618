"""Labels drawn anew: the published draw, in place of the true ones, watched from both sides."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data import load as load_images
from harness.errors import ProtocolError
from harness.registry import load, local_training
from harness.system import Options
from harness.training import Training, reproduce_by_training
from harness.training.random_labels import random_labels, relabelled
from harness.training.training_split import train_batches, watched_batches

FIXTURE = Path(__file__).parents[1] / "fixtures" / "acdc" / "random_labels_cifar10.json"
DRAWN = json.loads(FIXTURE.read_text())


@pytest.mark.parametrize("seed", DRAWN)
def test_the_draw_is_that_of_the_published_code(seed: str) -> None:
    rows, labels = random_labels(50_000, 1000, 10, int(seed))
    expected = DRAWN[seed]
    assert rows[:10].tolist() == expected["first10_indices"]
    assert rows[-3:].tolist() == expected["last3_indices"]
    assert int(rows.sum()) == expected["index_sum"]
    assert labels[:10].tolist() == expected["first10_labels"]
    assert torch.bincount(labels, minlength=10).tolist() == expected["label_hist"]


def test_the_draw_leaves_the_global_generators_alone() -> None:
    np.random.seed(4)
    torch.manual_seed(4)
    expected = np.random.rand(), torch.rand(1)
    np.random.seed(4)
    torch.manual_seed(4)
    random_labels(100, 10, 10, seed=1)
    assert (np.random.rand(), torch.rand(1)) == expected


def test_only_the_drawn_rows_change_and_the_set_given_stays() -> None:
    images = load_images("digits", "train")
    before = images.labels.clone()
    rows, labels = random_labels(len(images), 100, 10, seed=2)
    changed = relabelled(images, rows, labels)
    assert torch.equal(images.labels, before)
    assert torch.equal(changed.labels[rows], labels)
    others = torch.ones(len(images), dtype=torch.bool)
    others[rows] = False
    assert torch.equal(changed.labels[others], before[others])


def test_a_training_sees_the_new_labels_and_both_kinds_are_watched() -> None:
    registry = load()
    evaluation = registry.evaluations["digits"]
    recipe = replace(registry.recipes["digits-short"], random_labels=100)
    own = load_images("digits", "train").labels
    rows, labels = random_labels(len(own), 100, 10, seed=3)
    seen = torch.cat(
        [part for _, part in train_batches(recipe, evaluation, None, "cpu", 3).epoch(0)]
    )
    own[rows] = labels
    assert torch.equal(torch.bincount(seen), torch.bincount(own))
    watched = watched_batches(recipe, evaluation, None, "cpu", 3)
    assert watched.keys() == {"random_labels", "true_labels"}
    new = torch.cat([part for _, part in watched["random_labels"]])
    true = torch.cat([part for _, part in watched["true_labels"]])
    assert torch.equal(new, labels)
    assert torch.equal(true, load_images("digits", "train").labels[rows])


def test_the_history_tells_memorised_from_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    entry, recipe, changed = local_training(
        load(),
        method="dense",
        model="convnet_tiny",
        dataset="digits",
        overrides={"epochs": 6, "random_labels": 100},
    )
    result = reproduce_by_training(entry, load(), recipe, Options(), Training(overrides=changed))
    last = result.runs[0].history[-1]
    # A few epochs learn the digits; nobody has learned the hundred drawn labels by then.
    assert last["true_labels_top1_pct"] > last["random_labels_top1_pct"] + 20
    assert any("100 training images have labels drawn anew" in note for note in result.notes)


def test_more_labels_than_images_are_refused() -> None:
    registry = load()
    recipe = replace(registry.recipes["digits-short"], random_labels=5000)
    with pytest.raises(ProtocolError, match="draws 5000 labels anew, but digits has 1433"):
        train_batches(recipe, registry.evaluations["digits"], None, "cpu", 0)
