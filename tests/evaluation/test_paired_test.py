"""Paired comparison: against brute force and scipy, and refusals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness import results
from harness.data import ImageIdentity, load
from harness.errors import DamagedFile, DataError, ProtocolError
from harness.evaluation.paired_test import (
    Side,
    compare,
    interval_pp,
    mcnemar_p,
    paired,
    result_file_of,
)
from harness.results.schema import Protocol, Run
from harness.results.store import predictions_sha256
from tests.support.results import counts, made

FLOAT = 1e-9  # order of summation
SIDE = Side("x", "1", "evaluated", 0, 0.0, None)


def test_the_table_counts_what_a_loop_counts() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 5, 400)
    a, b = random.integers(0, 5, 400), random.integers(0, 5, 400)
    cells = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    same = 0
    for x, y, label in zip(a, b, labels, strict=True):
        cells[bool(x == label), bool(y == label)] += 1
        same += int(x == y)
    found = paired(SIDE, a, SIDE, b, labels)
    assert found.both_right == cells[True, True]
    assert found.only_a_right == cells[True, False]
    assert found.only_b_right == cells[False, True]
    assert found.both_wrong == cells[False, False]
    assert (found.same_answer, found.agreement_pct) == (same, 100 * same / 400)
    correct = pd.DataFrame({"a": a == labels, "b": b == labels}).mean() * 100
    assert found.difference_pp == pytest.approx(correct["b"] - correct["a"], abs=FLOAT)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_sum_by_hand(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    here = math.comb(n, only_a)
    exact = sum(math.comb(n, k) for k in range(n + 1) if math.comb(n, k) <= here) / 2**n
    assert mcnemar_p(only_a, only_b) == pytest.approx(exact, rel=1e-9)


def test_mcnemar_agrees_with_the_corrected_chi_square_where_flips_are_many() -> None:
    corrected = stats.chi2.sf((abs(484 - 333) - 1) ** 2 / (484 + 333), 1)
    assert mcnemar_p(484, 333) == pytest.approx(corrected, rel=0.15)  # an approximation


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_interval_is_wald_on_the_adjusted_table(only_a: int, only_b: int) -> None:
    n = 1000
    # Half an image per cell; the two concordant cells add one image without a difference.
    changes = np.array([-1.0, 1.0, 0.0])
    weights = np.array([only_a + 0.5, only_b + 0.5, n - only_a - only_b + 1.0])
    mean = np.average(changes, weights=weights)
    error = math.sqrt(np.average((changes - mean) ** 2, weights=weights) / weights.sum())
    expected = stats.norm.interval(0.95, loc=mean, scale=error)
    assert interval_pp(only_a, only_b, n) == pytest.approx(
        tuple(100 * edge for edge in expected), abs=FLOAT
    )


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    n, p_a, p_b = 200, 0.08, 0.05
    draws = random.multinomial(n, [p_a, p_b, 1 - p_a - p_b], size=400)
    inside = [
        low <= 100 * (p_b - p_a) <= high
        for low, high in (interval_pp(int(a), int(b), n) for a, b, _ in draws)
    ]
    assert 0.92 <= np.mean(inside) <= 0.98  # 95 % with 400 draws: +- 2.2 points


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    return load("digits", "test").labels.numpy()


def stored(
    name: str,
    answers: np.ndarray | None,
    right: int,
    when: str = "20260101T120000Z-00000001",
    version: int = 1,
    runs: tuple[Run, ...] = (),
    **data: object,
) -> Path:
    facts = {
        "dataset": "digits",
        "split": "test",
        "fingerprint": load("digits", "test").identity.fingerprint,
        "copy_name": "official",
        "n_total": 364,
        **data,
    }
    n = facts.pop("n", 364)
    result = made(
        name,
        when,
        dataset="digits",
        data=ImageIdentity(**facts),
        counts=counts(right, int(str(n))),
        runs=runs,
        protocol=Protocol(name="digits", version=version, sha256=str(version) * 64),
        predictions_sha256=None if answers is None else predictions_sha256(answers),
    )
    return results.save(result, answers)


def test_two_stored_results_are_compared_through_the_data_sets_own_labels(
    labels: np.ndarray,
) -> None:
    wrong = labels.copy()
    wrong[:10] = (wrong[:10] + 1) % 10
    stored("right", labels, 364)
    stored("wrong", wrong, 354)
    found, data = compare("right", "wrong")
    assert (found.only_a_right, found.only_b_right, found.both_right) == (10, 0, 354)
    assert found.p_value == pytest.approx(2 * 0.5**10)
    assert (found.a.top1, found.b.top1, data.dataset) == (364, 354, "digits")


def test_a_smoke_run_is_compared_on_the_rows_it_took(labels: np.ndarray) -> None:
    rows = np.arange(50) * len(labels) // 50
    stored("a", labels[rows], 50, n=50)
    stored("b", labels[rows], 50, n=50)
    assert compare("a", "b")[0].same_answer == 50


def test_entries_result_ids_and_files_name_the_same_result(labels: np.ndarray) -> None:
    stored("a", None, 0, "20260103T120000Z-00000003")  # newer, but without answers
    file = stored("a", labels, 364, "20260102T120000Z-00000002")
    stored("a", labels, 364, "20260101T120000Z-00000001")
    assert (
        result_file_of("a")
        == result_file_of("20260102T120000Z-00000002")
        == result_file_of(str(file))
        == file
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fingerprint": "0" * 64}, "images \\(fingerprint\\)"),
        ({"split": "train"}, "data sets digits test and digits train"),
        ({"n": 100}, "numbers of images 364 and 100"),
        ({"version": 2}, "evaluations digits v1 and digits v2.*--across-evaluations"),
    ],
)
def test_what_is_not_comparable_is_refused(
    labels: np.ndarray, change: dict[str, object], told: str
) -> None:
    stored("a", labels, 364)
    other = {"n": 364, **change}
    stored("b", labels[: int(str(other["n"]))], 0, **other)  # type: ignore[arg-type]
    with pytest.raises(ProtocolError, match=f"a and b are not comparable: {told}"):
        compare("a", "b")


def test_other_preparation_of_the_same_images_can_be_allowed(labels: np.ndarray) -> None:
    stored("a", labels, 364)
    stored("b", labels, 364, version=2)
    assert compare("a", "b", across_evaluations=True)[0].same_answer == 364


@pytest.mark.parametrize(
    ("answers", "right", "told"),
    [
        (None, 364, "b: none of its results holds answers per image"),
        ("shifted", 300, "b: 0 answers are right, its record says 300"),
    ],
)
def test_missing_or_foreign_answers_are_named(
    labels: np.ndarray, answers: str | None, right: int, told: str
) -> None:
    stored("a", labels, 364)
    stored("b", None if answers is None else (labels + 1) % 10, right)
    with pytest.raises(DataError, match=told):
        compare("a", "b")


def test_swapped_or_deleted_files_of_answers_are_noticed(labels: np.ndarray) -> None:
    file = stored("a", labels, 364)
    other = stored("b", (labels + 1) % 10, 0)
    other.with_suffix(".npz").replace(file.with_suffix(".npz"))
    with pytest.raises(DamagedFile, match="other sha256"):
        compare(str(file), str(file))
    file.with_suffix(".npz").unlink()
    with pytest.raises(DataError, match="is missing.*bench reproduce a"):
        compare(str(file), str(file))
    with pytest.raises(DataError, match="c: no result is stored"):
        compare("c", "a")


class Touching:
    """Makes a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.place,)


def test_answers_that_are_objects_are_damaged_and_never_unpickled(
    labels: np.ndarray, tmp_path: Path
) -> None:
    file = stored("a", labels, 364)
    objects = np.array([Touching(tmp_path / "executed")], dtype=object)
    np.savez(file.with_suffix(".npz"), predictions=objects)
    with pytest.raises(DamagedFile, match="cannot be read"):
        compare("a", "a")
    assert not (tmp_path / "executed").exists()


def test_another_copy_of_the_data_is_refused(
    labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        stored(name, labels, 364, fingerprint="1" * 64)
    here = load("digits", "test").identity.fingerprint[:12]
    said = f"copy here has fingerprint {here}, the results were measured on {'1' * 12}$"
    with pytest.raises(DataError, match=said):
        compare("a", "b")


def test_the_seed_is_that_of_the_network_whose_answers_are_kept(labels: np.ndarray) -> None:
    seeds = [
        Run(seed=seed, counts=counts(364, 364), epochs=1, steps=1, wall_s=1.0) for seed in (7, 8)
    ]
    stored("trained", labels, 364, runs=tuple(seeds))
    stored("evaluated", labels, 364)
    found, _ = compare("trained", "evaluated")
    assert (found.a.seed, found.b.seed) == (7, None)


def test_a_difference_never_exceeds_all_images() -> None:
    assert interval_pp(0, 1, 1)[1] == 100.0
    assert interval_pp(1, 0, 1)[0] == -100.0
    assert paired(SIDE, np.ones(1), SIDE, np.ones(1), np.ones(1)).interval_method[:4] == "95% "


def test_a_folder_or_an_unknown_word_that_ends_like_a_file_is_no_result(
    labels: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "a.json").mkdir()
    text = tmp_path / "a.txt"
    text.write_text("{}")
    for word in (tmp_path / "a.json", tmp_path / "b.json", text):
        with pytest.raises(DataError, match="no result is stored"):
            result_file_of(str(word))
