"""`bench compare`: two stored results image by image."""

from __future__ import annotations

import pytest

from harness.data import load
from tests.commands.conftest import Bench, document
from tests.evaluation.test_paired_test import stored


@pytest.fixture
def pair() -> None:
    labels = load("digits", "test").labels.numpy()
    shifted = labels.copy()
    shifted[:6] = (shifted[:6] + 1) % 10
    stored("right", labels, 364)
    stored("wrong", shifted, 358)


@pytest.mark.usefixtures("pair")
def test_the_screen_shows_the_table_and_names_test_and_images(bench: Bench) -> None:
    done = bench("compare", "right", "wrong")
    assert done.exit_code == 0
    text = " ".join(done.stdout.split())
    assert "A right 358 6 A wrong 0 0" in text
    assert "B - A -1.65 pp top-1, from -" in text
    assert "exact McNemar test (binomial, two-sided); 364 images of digits test" in text


@pytest.mark.usefixtures("pair")
def test_json_is_one_document(bench: Bench) -> None:
    found = document(bench("compare", "right", "wrong", "--json"))
    assert (found["only_a_right"], found["p_value"], found["dataset"]) == (6, 2 * 0.5**6, "digits")
    assert found["a"]["entry"] == "right"


@pytest.mark.usefixtures("pair")
def test_what_is_missing_ends_with_4_and_what_makes_no_sense_with_2(bench: Bench) -> None:
    missing = bench("compare", "right", "nothing")
    assert (missing.exit_code, missing.stdout) == (4, "")
    assert "bench reproduce nothing" in missing.stderr
    labels = load("digits", "test").labels.numpy()
    stored("other", labels, 364, version=2)
    refused = bench("compare", "right", "other")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert bench("compare", "right", "other", "--across-evaluations").exit_code == 0
