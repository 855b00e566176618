"""--config FILE and the run.yaml of every run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.commands.conftest import Bench, document

TRAIN = ("train", "--method", "gmp", "--model", "convnet_tiny", "--dataset", "digits")
CHANGES = (
    *("--set", "length=2ep", "--set", "settings.sparsity=0.6", "--set", "optimizer.lr=0.02"),
    *("--set", "augmentation.rotation_degrees=[-5, 5]", "--limit", "200", "--seeds", "2"),
)
PRUNE = (
    *("prune", "--method", "magnitude", "--start", "dense-convnet-tiny-digits", "--limit", "200"),
    *("--target", "0.9", "--rounds", "2", "--finetune", "1ep", "--set", "settings.allocation=lamp"),
)
QUIET = ("--no-tracking", "--json")


def trained_weights(home: Path) -> dict[str, bytes]:
    """<name>/<key of the run> -> the bytes of its weights."""
    files = home.glob("runs/*/*/weights.safetensors")
    return {"/".join(file.parts[-3:-1]): file.read_bytes() for file in files}


@pytest.mark.parametrize("command", [(*TRAIN, *CHANGES), PRUNE], ids=["train", "prune"])
def test_the_file_of_a_run_repeats_it_bit_for_bit_in_another_home(
    bench: Bench, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str]
) -> None:
    first = document(bench(*command, *QUIET))
    file = next(home.glob("runs/*/*-seed0/run.yaml"))
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "other"))
    done = bench("train", "--config", file, *QUIET)
    assert done.exit_code == 0, done.stderr
    assert trained_weights(tmp_path / "other") == trained_weights(home)
    again = document(done)
    assert (again["entry"], again["counts"]) == (first["entry"], first["counts"])
    copy = next((tmp_path / "other").glob("runs/*/*-seed0/run.yaml"))
    assert copy.read_text() == file.read_text()


def test_a_published_entry_is_repeated_under_a_name_of_ones_own(
    bench: Bench, home: Path, tmp_path: Path
) -> None:
    done = bench(
        *("reproduce", "gmp-convnet-tiny-digits-90", "--mode", "train"),
        *("--set", "epochs=2", "--set", "train_images=100", "--no-tracking"),
    )
    assert done.exit_code in (0, 3), done.stderr
    (before,) = trained_weights(home).values()
    file = next(home.glob("runs/*/*/run.yaml"))
    assert bench("train", "--config", file, *QUIET).exit_code == 0
    [(name, after)] = [each for each in trained_weights(home).items() if each[0].startswith("my-")]
    assert name.startswith("my-gmp-convnet-tiny-digits-90/") and after == before


def test_what_is_typed_wins_over_the_file_and_says_so(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "method: gmp\nmodel: convnet_tiny\ndataset: digits\nseeds: 3\nfresh: true\n"
        "set: {epochs: 2, settings.sparsity: 0.5}\n"
    )
    done = bench(
        *("train", "--config", file, "--seeds", "1", "--set", "settings.sparsity=0.7"),
        *("--dry-run", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    planned = document(done)
    assert (planned["seeds"], planned["length"]) == ([0], "2ep")
    assert planned["settings"]["sparsity"] == 0.7
    assert sorted(done.stderr.splitlines()[-2:]) == [
        "--seeds is 1 as typed, not 3 as in the file",
        "--set settings.sparsity is 0.7 as typed, not 0.5 as in the file",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("methd: gmp", "run.yaml:1:1: no option is called 'methd'; did you mean 'method'?"),
        ("method: gmp\nseeds: '3'", "run.yaml:2:8: seeds: expected a whole number, found '3'"),
        ("seeds: true", "seeds: expected a whole number, found True"),
        ("seeds: 0", "seeds: 0 is not in the range x>=1"),
        ("seeds: 1.5", "seeds: expected a whole number, found 1.5"),
        ("fresh: 1", "fresh: expected true or false, found 1"),
        ("model: 18", "model: expected a text, found 18"),
        ("set: epochs=3", "set: expected a mapping such as {epochs: 3}, found 'epochs=3'"),
        ("registry: a.yaml", "registry: expected a list, found 'a.yaml'"),
        ("split: 1.5", "split: 1.5 is not in the range 0<x<1"),
        ("set: {epochz: 3}", "unknown recipe key 'epochz'; did you mean 'epochs'?"),
        ("target: 0.9", "no option is called 'target'"),
        ("- 1", "run.yaml: expected a line for each option, such as method: gmp"),
        ("a: b: c", "run.yaml:1:5: not YAML"),
        ("", "run.yaml: expected a line for each option"),
        ("seeds: 1\nseeds: 2", "run.yaml:2:1"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_place(
    bench: Bench, tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    words = ("--method", "gmp", "--model", "convnet_tiny", "--dataset", "digits")
    words = words if "set: {" in text else ()
    done = bench("train", "--config", file, *words, "--dry-run")
    assert done.exit_code == 2 and done.stdout == ""
    assert told in done.stderr and done.stderr.count("\n") == 1


def test_a_missing_file_is_one_line(bench: Bench, tmp_path: Path) -> None:
    done = bench("prune", "--config", tmp_path / "no.yaml")
    assert done.exit_code == 2
    assert "no.yaml: No such file or directory. Give a YAML file with" in done.stderr
    missing = bench("prune", "--method", "magnitude", "--target", "0.5")
    assert missing.exit_code == 2 and "say what to prune" in missing.stderr


def test_a_run_is_the_start_of_another(bench: Bench, home: Path) -> None:
    train = bench(*TRAIN[:1], "--method", "dense", *TRAIN[3:], *CHANGES[:2], *QUIET, "--name", "a")
    assert train.exit_code == 0, train.stderr
    done = bench("prune", "--method", "magnitude", "--start", "a", "--target", "0.5", *QUIET)
    assert done.exit_code == 0, done.stderr
    pruned = document(done)
    assert (pruned["model"], pruned["dataset"]) == ("convnet_tiny", "digits")
    assert pruned["checkpoint"]["source"].startswith("run:a/")
    assert (
        pruned["checkpoint"]["sha256"]
        == hashlib.sha256(next(home.glob("runs/a/*/weights.safetensors")).read_bytes()).hexdigest()
    )
