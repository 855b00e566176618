"""A folder of one's own pictures in every verb that takes a data set."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.conftest import Bench, document

NETWORK = ("--model", "convnet_tiny")


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Three classes that differ in brightness, in pictures of several sizes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for label, name in enumerate(("dark", "middle", "light")):
            folder = tmp_path / "tones" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (16 + i, 17, 3)) + 95 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "tones"


def test_train_resume_eval_prune_and_table_on_a_folder(
    bench: Bench, tones: Path, home: Path
) -> None:
    data = ("--dataset", f"folder:{tones}")
    train = ("train", "--method", "dense", *NETWORK, *data, "--set", "epochs=2", "--no-tracking")
    first = bench(*train, "--json")
    assert first.exit_code == 0, first.stderr
    assert "folder-tones v1: 3 classes, 24 train and 12 val images" in first.stderr
    trained = document(first)
    assert trained["dataset"] == "folder-tones" and trained["protocol"]["name"] == "folder-tones"
    assert trained["data"]["copy_name"] == "own pictures" and trained["data"]["n_total"] == 12
    assert str(tones) not in first.stdout  # results hold no absolute path

    again = document(bench(*train, "--fresh", "--json"))
    assert [run["counts"] for run in again["runs"]] == [run["counts"] for run in trained["runs"]]

    (weights,) = (home / "runs").glob("*/*/weights.safetensors")
    evaluated = bench("eval", *NETWORK, *data, "--weights", weights, "--no-tracking", "--json")
    assert evaluated.exit_code == 0, evaluated.stderr
    assert document(evaluated)["counts"]["top1"] == trained["runs"][0]["counts"]["top1"]

    pruned = bench(
        "prune", "--method", "magnitude", *NETWORK, *data, "--weights", weights,
        "--target", "0.8", "--no-tracking", "--json",
    )  # fmt: skip
    assert pruned.exit_code == 0, pruned.stderr
    assert document(pruned)["cost"]["nnz"] == round(document(pruned)["cost"]["total"] * 0.2)

    for typed in (f"folder:{tones}", "folder-tones"):
        table = bench("table", "--dataset", typed)
        rows = [line for line in table.stdout.splitlines() if line.startswith("local-")]
        assert table.exit_code == 0 and len(rows) == 3


def test_a_trial_on_a_few_images_says_so_and_is_no_verdict(bench: Bench, tones: Path) -> None:
    train = ("train", "--method", "dense", *NETWORK, "--set", "epochs=1", "--no-tracking", "--json")
    for data, total in ((f"folder:{tones}", 24), ("digits", "1,433")):
        done = bench(*train, "--dataset", data, "--limit", "7")
        assert done.exit_code == 0, done.stderr
        result = document(done)
        assert result["smoke"] == f"trained on 7 of {total} images, evenly spread"
        assert result["verdict"]["status"] == "smoke"
        assert result["overrides"]["train_images"]["value"] == 7
    whole = document(bench(*train, "--dataset", f"folder:{tones}", "--limit", "24"))
    assert whole["smoke"] == ""


def test_a_dry_run_says_which_protocol_was_generated(bench: Bench, tones: Path) -> None:
    more = ("--set", "settings.sparsity=0.5", "--dry-run")
    done = bench("train", "--method", "gmp", *NETWORK, "--dataset", f"folder:{tones}", *more)
    assert done.exit_code == 0
    assert "convnet_tiny on folder-tones" in done.stdout and "standard-pictures" in done.stdout


def test_a_bad_folder_is_one_line_and_exit_4(bench: Bench, tmp_path: Path) -> None:
    done = bench("train", "--method", "dense", *NETWORK, "--dataset", f"folder:{tmp_path / 'no'}")
    assert done.exit_code == 4 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "does not exist" in done.stderr


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_names_of_folders_and_classes_may_hold_anything(
    bench: Bench, tmp_path: Path, mode: str
) -> None:
    place = tmp_path / "meine Bilder 日本"
    for split, (tone, kind) in product(("train", "val"), enumerate(("a b", "寿司"))):
        folder = place / split / kind
        folder.mkdir(parents=True)
        for number in range(2):
            colour = 80 * tone + 20 if mode == "L" else (80 * tone + 20, number, 0)
            Image.new(mode, (9, 9), colour).save(folder / f"{number}.png")
    short = ("--set", "epochs=1", "--no-tracking", "--json")
    words = ("--method", "dense", "--model", "convnet_tiny", "--dataset", f"folder:{place}")
    done = bench("train", *words, *short)
    assert done.exit_code == 0, done.stderr
    assert "folder-meine-bilder v1: 2 classes, 4 train and 4 val images" in done.stderr
    found = document(done)
    assert (found["dataset"], found["counts"]["n"]) == ("folder-meine-bilder", 4)
    first = {"L": 16 * 9, "RGB": 16 * 27}[mode]  # gray pictures have one channel
    assert found["cost"]["layers"][0]["total"] == first


def test_stated_facts_stand_in_the_file_that_repeats_a_run(
    bench: Bench, tones: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = ("--image-size", "12", "--std", "0.3,0.3,0.25")
    train = ("train", "--method", "dense", *NETWORK, "--dataset", f"folder:{tones}", *stated)
    assert bench(*train, "--set", "epochs=1", "--no-tracking").exit_code == 0
    (weights,) = (home / "runs").glob("*/*/weights.safetensors")
    said = (weights.parent / "run.yaml").read_text()
    assert 'std: "0.3,0.3,0.25"' in said and "image-size: 12" in said and "mean" not in said
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "other"))
    again = bench("train", "--config", weights.parent / "run.yaml", "--no-tracking")
    assert again.exit_code == 0, again.stderr
    (other,) = (tmp_path / "other" / "runs").glob("*/*/weights.safetensors")
    assert other.read_bytes() == weights.read_bytes()
