"""`bench eval`: weights of one's own, by the same protocol, in the same table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness import results
from harness.data import load
from harness.models import build
from harness.registry import derived_name
from harness.results import current
from harness.results.store import load_all
from tests.commands.conftest import ALWAYS, Bench, document
from tests.results.test_store import private
from tests.support.results import made


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """convnet_tiny that always answers the same class."""
    state = build("convnet_tiny", num_classes=10, in_channels=1).state_dict()
    state["fc.weight"] = torch.zeros(10, 32)
    state["fc.bias"] = torch.eye(10)[ALWAYS]
    torch.save(state, tmp_path / "mine.pt")
    return tmp_path / "mine.pt"


def arguments(weights: Path) -> tuple[object, ...]:
    return ("eval", "--model", "convnet_tiny", "--dataset", "digits", "--weights", weights)


def test_counts_are_those_of_the_split(bench: Bench, weights: Path) -> None:
    done = bench(*arguments(weights), "--no-tracking", "--json")
    assert done.exit_code == 0, done.stderr
    result = document(done)
    assert result["entry"] == "local-convnet-tiny-digits-mine"
    labels = load("digits", "test").labels.tolist()
    assert (result["counts"]["n"], result["counts"]["top1"]) == (364, labels.count(ALWAYS))
    assert result["cost"]["nnz"] == 14_288 - 320
    assert result["verdict"]["status"] == "reported"
    assert result["checkpoint"]["source"] == "file:mine.pt"
    assert private(result) == []
    assert str(weights.parent) not in done.stdout
    [stored] = load_all()
    assert stored.result_id == result["result_id"]


def test_a_limit_is_a_smoke_run(bench: Bench, weights: Path) -> None:
    result = document(bench(*arguments(weights), "--limit", 10, "--no-tracking", "--json"))
    assert result["verdict"] == {"status": "smoke", "reason": "10 of 364 images, evenly spread"}


def test_the_name_is_mine_and_the_block_is_printed(bench: Bench, weights: Path) -> None:
    done = bench(*arguments(weights), "--name", "My Net", "--no-tracking")
    assert done.stdout.startswith("my-net  own result  n=364 images, digits v1")
    assert "evaluate on digits" in done.stderr


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        (("--model", "resnet2O"), 2, "resnet2O"),
        (("--dataset", "cifar1O"), 2, "no data set is called 'cifar1O'; nearest: cifar10"),
        (("--model", "resnet20"), 2, "cannot take pictures of 8x8 with 1 channels"),
        (("--model", "mobilenet_v2"), 4, "mine.pt: checkpoint and model do not fit"),
        (("--weights", "gone.pt"), 4, "gone.pt: no such file"),
        (("--evaluation", "imagenet-224"), 2, "no evaluation 'imagenet-224' on digits; known: "),
        (("--weights-format", "zip"), 2, "zip"),
    ],
)
def test_what_does_not_fit_is_one_line(
    bench: Bench, weights: Path, changed: tuple[str, ...], code: int, told: str
) -> None:
    done = bench(*arguments(weights), *changed, "--no-tracking")
    assert done.exit_code == code, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("bench: ")]
    assert told in line
    assert list(load_all()) == []


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    """convnet_tiny with 90 % of each weight zero."""
    state = build("convnet_tiny", num_classes=10, in_channels=1).state_dict()
    for value in state.values():
        if value.dim() > 1:
            value.fill_(0.01).view(-1)[value.numel() // 10 :] = 0.0
    torch.save(state, tmp_path / "pruned.pt")
    return tmp_path / "pruned.pt"


def test_a_pruned_file_is_not_called_dense_and_says_what_it_saves(
    bench: Bench, pruned: Path, weights: Path
) -> None:
    found = document(bench(*arguments(pruned), "--no-tracking", "--json"))
    assert (found["method"], found["granularity"]) == ("pruned", "unstructured")
    # A tenth of 144, 4608, 9216 and 320 weights, rounded down: 1,427 of 14,288.
    assert (found["cost"]["nnz"], found["cost"]["total"]) == (1_427, 14_288)
    lines = bench(*arguments(pruned), "--no-tracking").stdout.splitlines()
    sparsity = next(line.split() for line in lines if "sparsity_pct" in line)
    assert sparsity[2] == f"{100 - 100 * 1427 / 14288:.2f}"
    assert any(line.split()[:2] == ["MACs", "(millions)"] for line in lines)


def test_a_file_with_hardly_any_zero_is_dense(bench: Bench, tmp_path: Path) -> None:
    torch.save(
        build("convnet_tiny", num_classes=10, in_channels=1).state_dict(), tmp_path / "own.pt"
    )
    found = document(bench(*arguments(tmp_path / "own.pt"), "--no-tracking", "--json"))
    assert (found["method"], found["granularity"]) == ("dense", "dense")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("dense-resnet20-cifar10", "is an entry of the registry"),
        ("Dense ResNet20 CIFAR10", "is an entry of the registry"),  # stored under the same id
        ("dw-woodfisher-resnet20", None),
        ("..", "cannot be the name of a result"),
        ("a/../b", "cannot be the name of a result"),
        ("Prüfung", "cannot be the name of a result"),
        ("сеть", "cannot be the name of a result"),
        ("--", "cannot be the name of a result"),
        ("n" * 300, "cannot be the name of a result"),
    ],
)
def test_a_name_that_cannot_be_ones_own_is_refused_before_the_evaluation(
    bench: Bench, weights: Path, name: str, told: str | None
) -> None:
    done = bench(*arguments(weights), f"--name={name}", "--no-tracking")
    if told is None:
        assert done.exit_code == 0
        return
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert told in line and "--name my-" in line
    assert list(load_all()) == []


def test_a_set_without_a_standard_evaluation_names_those_there_are(
    bench: Bench, weights: Path
) -> None:
    words = ("eval", "--model", "resnet18", "--dataset", "imagenet-sample", "--weights", weights)
    done = bench(*words, "--no-tracking")
    assert done.exit_code == 2
    [line] = done.stderr.splitlines()
    assert "--evaluation imagenet-sample-224" in line


def test_nothing_of_ones_own_changes_the_claims(bench: Bench, weights: Path) -> None:
    row = "dense-resnet20-cifar10"
    results.save(made(entry=row, paper="akamaster", status="match", published="91.73"))
    before, table = bench("claims").stdout, bench("table", "--format", "csv").stdout
    hidden = made(entry=row, when="20261102T120000Z-00000002", paper=None, measured=10.0)
    results.save(hidden)  # by code of before, which let anyone take the name
    assert bench("claims").stdout == before
    both = bench("table", "--format", "csv").stdout.splitlines()
    assert set(table.splitlines()) <= set(both)
    assert current.verdicts({}) == {row: "match"}
    assert hidden.result_id not in bench("show", row, "--json").stdout


def test_a_files_own_name_becomes_a_readable_one(bench: Bench, weights: Path) -> None:
    file = weights.rename(weights.with_name("Müller größte 90.pt"))
    done = bench(*arguments(file), "--limit", 10, "--no-tracking", "--json")
    assert done.exit_code == 0, done.stderr
    assert document(done)["entry"] == "local-convnet-tiny-digits-muller-grosste-90"


def test_names_that_lose_letters_stay_apart() -> None:
    assert derived_name("net", "a..b") == "local-net-a.b"
    first, second = derived_name("сеть-90"), derived_name("сетка-90")
    assert first.startswith("local-90-") and second.startswith("local-90-") and first != second
    assert len(derived_name("x" * 200)) < 80 and derived_name("x" * 200) != derived_name("x" * 201)
