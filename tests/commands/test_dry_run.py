"""--dry-run checks what the real run checks before its first step, and says what would run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness import results
from harness.models import build
from tests.commands.conftest import Bench, document
from tests.support.results import trained

OWN = ("--model", "convnet_tiny", "--dataset", "digits")
DIGITS = 1433  # training images of the set


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    network = build("convnet_tiny", num_classes=10, in_channels=1)
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


def test_a_dry_run_says_seeds_steps_data_and_weights_and_writes_nothing(
    bench: Bench, file: Path, home: Path
) -> None:
    done = bench(
        *("prune", "--method", "magnitude", *OWN, "--weights", file, "--target", "0.9"),
        *("--rounds", "3", "--finetune", "2ep", "--set", "batch=100", "--seeds", "2"),
        *("--dry-run", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    plan = document(done)
    assert plan["seeds"] == [0, 1] and plan["finished_seeds"] == []
    assert plan["images"] == {"train": DIGITS, "test": 364}
    assert plan["steps"] == 3 * 2 * 15  # rounds x epochs x ceil(1433 / 100)
    assert plan["start"] == "file mine.pt" and len(plan["start_sha256"]) == 64
    assert len(plan["data_fingerprint"]) == 64 and plan["estimated_s"] is None
    assert not (home / "runs").exists()


def test_a_plan_knows_what_is_finished_and_how_long_it_took(bench: Bench) -> None:
    train = ("train", "--method", "dense", *OWN, "--set", "epochs=1", "--limit", "200")
    assert bench(*train, "--no-tracking").exit_code == 0
    plan = document(bench(*train, "--seeds", "3", "--dry-run", "--json"))
    assert plan["finished_seeds"] == [0]
    assert 0 < plan["estimated_s"] < 60
    assert document(bench(*train, "--fresh", "--dry-run", "--json"))["finished_seeds"] == []


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (("train", "--method", "gmp", "--set", "settings.sparsty=1"), 2, "no setting is called"),
        (("train", "--method", "gmp", "--set", "settings.sparsity=x"), 2, "gmp: sparsity: "),
        (("train", "--method", "nope"), 2, "'nope'"),
        (("train", "--method", "dense", "--set", "batch=many"), 2, "batch"),
        (("train", "--method", "dense", "--weights", "no.pt"), 4, "no.pt: no such file"),
        (("train", "--method", "dense", "--start", "dense-resnet20-cifar10"), 2, "cifar10"),
        (("prune", "--method", "snip", "--dense", "1ep", "--target", "0.5"), 2, "no one-shot form"),
    ],
)
def test_a_dry_run_fails_as_the_run_does(
    bench: Bench, home: Path, more: tuple[str, ...], code: int, told: str
) -> None:
    dry, real = (bench(*more, *OWN, "--no-tracking", *last) for last in (("--dry-run",), ()))
    assert dry.exit_code == real.exit_code == code, dry.output
    assert dry.stderr.splitlines()[-1] == real.stderr.splitlines()[-1]
    assert told in dry.stderr and dry.stdout == "" and not (home / "runs").exists()


def test_a_batch_that_is_no_step_fails_in_a_dry_run(bench: Bench) -> None:
    more = ("--set", "batch=5000", "--set", "drop_last=true", "--dry-run")
    done = bench("train", "--method", "dense", *OWN, *more)
    assert done.exit_code == 2 and "batch size 5000 gives no step" in done.stderr


def test_weights_that_do_not_fit_fail_in_a_dry_run(bench: Bench, tmp_path: Path) -> None:
    torch.save(build("resnet20").state_dict(), tmp_path / "other.pt")
    more = ("train", "--method", "dense", *OWN, "--weights", tmp_path / "other.pt", "--dry-run")
    done = bench(*more)
    assert done.exit_code == 4 and "resnet20" in done.stderr


def test_several_entries_are_planned_and_a_missing_set_is_an_error_beside_its_plan(
    bench: Bench,
) -> None:
    done = bench(
        *("reproduce", "gmp-convnet-tiny-digits-90", "acdc-resnet50-90"),
        *("--mode", "train", "--dry-run", "--json"),
    )
    assert done.exit_code == 4
    plans = document(done)
    assert [plan["entry"] for plan in plans] == ["gmp-convnet-tiny-digits-90", "acdc-resnet50-90"]
    assert plans[1]["data_fingerprint"] is None and plans[1]["images"] == {"train": 1281167}
    assert "imagenet: not found below" in done.stderr and done.stderr.count("\n") == 1
    evaluated = bench("reproduce", "acdc-resnet50-90", "--dry-run", "--json")
    assert document(evaluated)[0]["checkpoint"] == "link"


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        ("han-magnitude-lenet5caffe-mnist-12x", (1 + 5) * 10000),
        ("imp-lenet300-mnist-13.5", (1 + 9) * 50000),
    ],
)
def test_rows_that_prune_in_rounds_are_planned(bench: Bench, row: str, steps: int) -> None:
    done = bench("reproduce", row, "--mode", "train", "--dry-run", "--json")
    assert done.exit_code in (0, 4), done.stderr  # 4: no images here
    assert document(done)["steps"] == steps


def test_a_start_that_is_unknown_may_be_a_run_or_a_file(bench: Bench, tmp_path: Path) -> None:
    results.save(trained(entry="local-my-net-90"))
    words = ("prune", "--method", "magnitude", "--target", 0.5, "--dry-run", "--start")
    done = bench(*words, "local-my-net-9O")
    assert done.exit_code == 2
    assert "no entry or run is called 'local-my-net-9O'; did you mean 'local-my-net-90'?" in (
        done.stderr
    )
    assert "bench list; runs: bench runs; a file: --weights FILE" in done.stderr
    (tmp_path / "net.pt").write_bytes(b"")
    done = bench(*words, tmp_path / "net.pt")
    assert done.exit_code == 2 and f"Start from it: --weights {tmp_path}" in done.stderr
