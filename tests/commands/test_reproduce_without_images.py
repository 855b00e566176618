"""`bench reproduce` where the file is here and the images are not: the weights are judged alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result as Ran

from harness import results
from harness.results import current
from tests.commands.conftest import (
    SPARSITY_PCT,
    Bench,
    acdc_file,
    document,
    tiny_registry,
)

ACCURACY = 'source: README, top1_pct: "98.10"'


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return made(tmp_path, f'{{{ACCURACY}, sparsity_pct: "{SPARSITY_PCT}"}}')


def made(folder: Path, published: str) -> Path:
    """An entry on MNIST, whose images no test has."""
    url = "https://host.invalid/tiny.ckpt"
    return tiny_registry(folder, url, published=published, dataset="mnist")


def reproduce(bench: Bench, registry: Path, folder: Path, *words: str) -> Ran:
    file = folder / "tiny.ckpt"
    if not file.exists():  # its weights are drawn anew each time
        file.write_bytes(acdc_file())
    arguments = ("--registry", registry, "--from", file, "--data-root", folder)
    return bench("reproduce", "acdc-tiny-50", *arguments, "--no-tracking", "--offline", *words)


def test_the_sparsity_is_judged_and_the_accuracy_waits_for_the_images(
    bench: Bench, registry: Path, tmp_path: Path
) -> None:
    done = reproduce(bench, registry, tmp_path, "--json")
    assert done.exit_code == 4
    [found] = document(done)
    assert (found["mode"], found["data"], found["counts"]) == ("counted", None, None)
    assert found["metrics"]["sparsity_pct"]["status"] == "exact"
    accuracy = found["metrics"]["top1_pct"]
    assert (accuracy["status"], accuracy["measured"]) == ("cannot check", None)
    assert accuracy["reason"] == "waits for the images of mnist"
    assert found["verdict"]["status"] == "cannot check"
    assert "bench: mnist: not found below" in done.stderr
    [stored] = results.load_all()
    assert stored.result_id == found["result_id"]


def test_a_file_without_the_claimed_zeros_fails_without_any_image(
    bench: Bench, tmp_path: Path
) -> None:
    claimed = made(tmp_path, f'{{{ACCURACY}, sparsity_pct: "50.70"}}')  # 50.62 are found
    done = reproduce(bench, claimed, tmp_path)
    assert done.exit_code == 3
    assert "rounds to 50.62, printed 50.70" in " ".join(done.stdout.split())
    assert "weights alone, no images" in done.stdout


def test_what_prints_accuracies_only_has_nothing_to_judge(bench: Bench, tmp_path: Path) -> None:
    done = reproduce(bench, made(tmp_path, f"{{{ACCURACY}}}"), tmp_path, "--json")
    assert done.exit_code == 4
    [found] = document(done)
    assert found["error"] == "DataError"
    assert list(results.load_all()) == []


def test_the_same_count_is_stored_once(bench: Bench, registry: Path, tmp_path: Path) -> None:
    for _ in range(2):
        reproduce(bench, registry, tmp_path)
    assert len(list(results.load_all())) == 1


def test_a_count_is_no_line_of_the_leaderboard_and_hides_no_evaluation(
    bench: Bench, registry: Path, tmp_path: Path
) -> None:
    reproduce(bench, registry, tmp_path)
    assert "acdc-tiny-50" not in bench("table", "--registry", registry).stdout
    assert current.verdicts({}) == {"acdc-tiny-50": "cannot check"}
    shown = bench("show", "acdc-tiny-50", "--registry", registry)
    assert shown.exit_code == 0 and "cannot check" in shown.stdout
