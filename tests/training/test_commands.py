"""Whole training commands: seeds, starts, data, overrides, and what a wrong request is told."""

import hashlib
import json
import re
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from cli import main
from harness.data.batches import resident_batches
from harness.data.find_and_load import load as load_data
from harness.models import build
from harness.registry import load as load_registry
from harness.registry.method_choice import merged_settings
from harness.registry.overrides import Override
from harness.registry.own_runs import local_pruning, local_training
from harness.results.tolerances import judge_retrained
from harness.system.options import Options
from harness.training import Training, reproduce_by_training, retrain_together
from harness.training.training_split import calibration_images, split_rows, train_batches
from methods.dense import Dense
from tests.support.runs import Command

COMMON = ["--model", "convnet_tiny", "--dataset", "digits", "--no-tracking"]
DENSE = ["train", "--method", "dense", *COMMON, "--set", "epochs=2"]


@pytest.fixture(scope="module")
def registry():
    return load_registry()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    return tmp_path


def trained(registry, training, method="dense", options=None, **overrides):
    entry, recipe, changed = local_training(
        registry, method=method, model="convnet_tiny", dataset="digits", overrides=overrides
    )
    training = replace(training, overrides=changed)
    return reproduce_by_training(entry, registry, recipe, options or Options(), training)


@pytest.mark.parametrize(
    ("method", "granularity"),
    [
        ("dense", "dense"),
        ("magnitude", "unstructured"),
        ("rd", "unstructured"),
        ("ftwt", "dynamic"),
        ("ipruning", "structured"),
        ("edropout", "structured"),
    ],
)
def test_ones_own_run_says_what_its_method_removes(registry, method, granularity):
    entry, _, _ = local_training(
        registry, method=method, model="convnet_tiny", dataset="digits", overrides={}
    )
    assert entry.granularity == granularity


def test_seeds_differ_and_each_is_on_record(registry, home):
    result = trained(registry, Training(seeds=(0, 1, 2)), epochs=1)
    scores = [run.counts.top1 for run in result.runs]
    assert [run.seed for run in result.runs] == [0, 1, 2]
    assert len(set(scores)) > 1
    weights = [file.read_bytes() for file in home.glob("runs/*/*/weights.safetensors")]
    assert len(set(weights)) == 3
    assert len(list(home.glob("reports/results/*/*.json"))) == 1


def test_a_retrained_verdict_compares_the_mean_over_seeds(registry, home):
    entry = replace(registry.get("dense-convnet-tiny-digits"), recipe=None)
    recipe = replace(
        registry.recipes["digits-short"], length=registry.recipes["digits-short"].length
    )
    recipe = replace(recipe, length=replace(recipe.length, count=1))
    training = Training(seeds=(0, 1, 2))
    result = reproduce_by_training(entry, registry, recipe, Options(), training)
    seeds = [run.counts.top1_pct for run in result.runs]
    if "top1_pct" in entry.published:
        expected = judge_retrained(entry.published["top1_pct"], seeds)
        assert result.metrics["top1_pct"] == expected


@pytest.mark.slow
def test_one_command_gives_the_same_bits_in_two_processes(tmp_path):
    once, twice = (Command(tmp_path / name, DENSE).start() for name in ("a", "b"))
    once.finish()
    twice.finish()
    assert once.final_bytes() == twice.final_bytes()


def test_settings_of_the_recipe_yield_to_the_entry_and_both_to_the_user(registry):
    entry = replace(registry.get("dense-convnet-tiny-digits"), settings={"a": 2, "b": 2})
    recipe = replace(registry.recipes["digits-short"], settings={"a": 1, "b": 1, "c": 1})
    chosen = {
        "settings.b": Override(3, 1, "command line"),
        "epochs": Override(3, 1, "command line"),
    }
    assert merged_settings(entry, recipe, chosen) == {"a": 2, "b": 3, "c": 1}


def test_a_part_held_back_is_random_by_seed_and_never_trained_on(registry):
    recipe = replace(registry.recipes["digits-short"], validation_frac=0.1)
    evaluation = registry.evaluations["digits"]
    whole = load_data("digits", "train")
    kept, held = split_rows(len(whole), 0.1, seed=3)
    assert (len(kept), len(held)) == (1433 - 143, 143)
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(1433))
    assert held.tolist() != split_rows(len(whole), 0.1, seed=4)[1].tolist()
    batches = train_batches(recipe, evaluation, None, "cpu", 3)
    seen = torch.cat([images for images, _ in batches.epoch(0)])
    part = resident_batches(whole.take(kept), evaluation, "cpu", len(kept))
    ((expected, _),) = part
    assert _rows(seen) == _rows(expected)


def _rows(images):
    return sorted(tuple(row) for row in images.flatten(1).tolist())


def test_holding_back_is_told_in_the_result(registry, home):
    result = trained(registry, Training(), epochs=1, validation_frac=0.2)
    assert any("20 % of the training images" in note for note in result.notes)
    assert result.overrides["validation_frac"] == Override(0.2, 0.0, "command line")


@pytest.fixture
def dense_file(tmp_path):
    torch.manual_seed(5)
    file = tmp_path / "mine.safetensors"
    save_file(build("convnet_tiny", num_classes=10, in_channels=1).state_dict(), file)
    return file


def pruned(registry, file, target=0.5):
    entry, recipe, changed = local_pruning(
        registry,
        method="magnitude",
        model="convnet_tiny",
        dataset="digits",
        start=None,
        target=target,
        rounds=1,
        finetune="0ep",
        overrides={},
    )
    options = Options(from_file=file)
    return reproduce_by_training(entry, registry, recipe, options, Training(overrides=changed))


def test_pruning_starts_from_the_users_file_and_says_so(registry, home, dense_file):
    result = pruned(registry, dense_file)
    sha256 = hashlib.sha256(dense_file.read_bytes()).hexdigest()
    assert (result.checkpoint.sha256, result.checkpoint.source) == (sha256, "file:mine.safetensors")
    assert f"started from file mine.safetensors (sha256 {sha256[:12]})" in result.notes
    (final,) = home.glob("runs/*/*/weights.safetensors")
    before, after = load_file(dense_file), load_file(final)
    for name, value in after.items():
        kept = value != 0
        assert torch.equal(value[kept], before[name][kept])


def test_another_file_is_another_run(registry, home, dense_file):
    pruned(registry, dense_file)
    torch.manual_seed(6)
    save_file(build("convnet_tiny", num_classes=10, in_channels=1).state_dict(), dense_file)
    pruned(registry, dense_file)
    assert len(list(home.glob("runs/*/*/done.json"))) == 2


def test_a_start_from_the_registry_is_named_with_its_hash(registry, home):
    entry, recipe, changed = local_training(
        registry,
        method="dense",
        model="convnet_tiny",
        dataset="digits",
        start="dense-convnet-tiny-digits",
        overrides={"epochs": 0},
    )
    training = Training(overrides=changed)
    result = reproduce_by_training(entry, registry, recipe, Options(), training)
    assert any("started from dense-convnet-tiny-digits (sha256" in note for note in result.notes)
    assert result.counts.top1_pct > 90


class Looking(Dense):
    """Asks for every tenth image; of files, for none but made-up ones."""

    def calibration_rows(self, total, folder):
        return range(0, total, total // 10)[:10]


class Dreaming(Dense):
    def calibration_images(self, shape, seed):
        return torch.full((2, *shape), float(seed))


def test_calibration_images_are_the_methods_choice_of_the_training_split(registry):
    evaluation = registry.evaluations["digits"]
    found = calibration_images(Looking(None), evaluation, None, "cpu", 0)
    whole = load_data("digits", "train")
    pixels = whole.images[range(0, 1430, 143)].float() / 255
    expected = (pixels - evaluation.mean[0]) / evaluation.std[0]
    torch.testing.assert_close(found, expected)


def test_calibration_images_may_be_made_up_or_absent(registry):
    evaluation = registry.evaluations["digits"]
    found = calibration_images(Dreaming(None), evaluation, None, "cpu", 7)
    assert torch.equal(found, torch.full((2, 1, 8, 8), 7.0))
    assert calibration_images(Dense(None), evaluation, None, "cpu", 7) is None


def bad(*arguments):
    """The one line that a wrong command prints; checked to exit with 2."""
    done = CliRunner().invoke(main, ["train", "--no-tracking", *arguments])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.strip().splitlines()[-1:]
    return line


def method_on_digits(method, *assignments):
    return ["--method", method, "--model", "convnet_tiny", "--dataset", "digits"] + [
        part for text in assignments for part in ("--set", text)
    ]


WRONG = {
    "sparsity": (
        method_on_digits("acdc", "settings.sparsity=1.2"),
        r"acdc: sparsity: sparsity 1.2 is not a fraction below 1; .* such as 0.9",
    ),
    "method": (method_on_digits("magic"), r"no method is called 'magic'; known: acdc, .*dense"),
    "model": (
        ["--method", "dense", "--model", "convnet_tyni", "--dataset", "digits"],
        r"convnet_tyni.*convnet_tiny",
    ),
    "dataset": (
        ["--method", "dense", "--model", "convnet_tiny", "--dataset", "digit"],
        r"no data set is called 'digit'; nearest: digits",
    ),
    "pattern": (
        method_on_digits("magnitude", "settings.sparsity=0.5", "settings.exclude=[nope*]"),
        r"pattern 'nope\*' matches no weight; weights: conv1",
    ),
    "n_of_m": (
        method_on_digits("acdc", "settings.allocation=1:5"),
        r"1:5 does not divide layer 'conv1' of 144 weights; add it to exclude or choose",
    ),
    "recipe key": (method_on_digits("dense", "optimiser.lr=1"), r"optimiser.lr.*optimizer.lr"),
    "duration": (method_on_digits("dense", "length=3epochs"), r"3epochs|160ep"),
    "setting": (
        method_on_digits("acdc", "settings.sparsty=0.5"),
        r"acdc: no setting is called 'sparsty'; settings: .*sparsity",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_told_in_one_line(home, name):
    arguments, expected = WRONG[name]
    assert re.search(expected, bad(*arguments))
    assert not list(home.glob("runs/*/*/*"))


def test_help_has_a_runnable_example():
    done = CliRunner().invoke(main, ["train", "--help"])
    assert done.exit_code == 0
    assert "Example:  bench train --method gmp" in done.output


def test_the_result_of_a_command_is_one_json_document(home):
    done = CliRunner().invoke(main, [*DENSE, "--json", "--seeds", "2"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [run["seed"] for run in document["runs"]] == [0, 1]
    assert document["recipe"]["name"] == "digits-short"


def test_a_ticket_on_any_network_trains_its_own_dense_one_first(registry, home):
    entry, recipe, changed = local_pruning(
        registry,
        method="imp",
        model="convnet_tiny",
        dataset="digits",
        start=None,
        dense="1ep",
        target=0.75,
        rounds=2,
        finetune="1ep",
        overrides={},
    )
    result = reproduce_by_training(entry, registry, recipe, Options(), Training(overrides=changed))
    (run,) = result.runs
    dense, first, last = run.history
    assert (dense["steps"], dense["sparsity_pct"]) == (23.0, 0.0)
    assert (first["nnz"], last["nnz"]) == (7_144, 3_572)  # of 144 + 4,608 + 9,216 + 320 weights
    won = last["top1_pct"] - dense["top1_pct"]
    assert result.metrics["gain_over_dense_pp"].measured == won == run.figures["gain_over_dense_pp"]


@pytest.mark.parametrize("given", [[], ["--dense", "1ep", "--start", "dense-convnet-tiny-digits"]])
def test_what_is_pruned_is_said_once(given):
    command = ["prune", "--method", "imp", *COMMON, "--target", "0.5", *given]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2 and "--dense LENGTH" in done.stderr


def test_an_entry_that_cannot_be_trained_stops_no_other(home, registry):
    first, second = (
        replace(registry.get(name), recipe=None)
        for name in ("acdc-convnet-tiny-digits-90", "dense-convnet-tiny-digits")
    )
    outcomes = list(retrain_together([first, second], registry, Options(), Training(), {}))
    assert [outcome.entry for outcome in outcomes] == [first, second]
    assert all("no training protocol is known" in str(outcome.error) for outcome in outcomes)
