"""Every figure that papers print, judged against two small layers counted by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from harness import registry
from harness.registry import LOCAL, Entry, Published
from harness.results.judged_metrics import Measured, judge
from harness.results.schema import Cost, Counts, Spread
from harness.results.verdicts import Comparison
from tests.support.results import LAYERS, a_cost

ROW = registry.get("str-resnet50-90")
CONV, FC = LAYERS  # 108 of 432 weights and 442,368 MACs; of 160 weights and 160 MACs, here 16
COST = replace(a_cost(nnz=124), layers=(CONV, replace(FC, nnz=16)))
SPREAD = Spread(mean=1.0, std=0.0, minimum=1, maximum=1, bin_edges=(0.0, 2.0), bin_counts=(1,))


def printed(**texts: str) -> Entry:
    """STR's row with these figures; a dot in a name is written as two underscores."""
    return replace(ROW, published={name.replace("__", "."): figure(t) for name, t in texts.items()})


def figure(text: str, **facts: object) -> Published:
    return Published(text=text, source="table 1", **facts)  # type: ignore[arg-type]


def measured(cost: Cost = COST, **facts: object) -> Measured:
    """9,174 of 10,000 images right."""
    counts = Counts(n=10_000, top1=9_174, top3=9_800, top5=9_900, loss_sum=2_500.0)
    return Measured(**{"counts": counts, "cost": cost, "n_total": 10_000, **facts})  # type: ignore[arg-type]


def judged(name: str, text: str, found: Measured | None = None, **facts: object) -> Comparison:
    entry = replace(ROW, published={name: figure(text, **facts)})
    return judge(entry, measured() if found is None else found)[name]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("density_pct", "20.9", 100 * 124 / 592),
        ("density_pct.fc", "10", 10.0),
        ("density_pct.conv1", "25.0", 25.0),
        ("sparsity_pct", "79.1", 100 * 468 / 592),
        ("sparsity_pct.fc", "90", 90.0),
        ("sparsity_pct.conv1", "75", 75.0),
        ("weights_thousands", "0.592", 0.592),
        ("weights_thousands.fc", "0.16", 0.16),
        ("flops_thousands", "885.06", 885.056),  # two per multiply-accumulate
        ("flops_thousands.fc", "0.32", 0.32),
        ("compression_ratio", "4.8", 592 / 124),
        ("compression_ratio.fc", "10", 10.0),
        ("size_kb", "2.5", 2.48),  # 620 parameters of four bytes
        ("params_millions", "0.000124", 0.000124),
    ],
)
def test_figures_follow_from_counts(name: str, text: str, value: float) -> None:
    found = judged(name, text)
    assert found.status == "exact"
    assert found.measured == pytest.approx(value)


def test_a_layer_without_weights_left_is_compressed_by_all_it_had() -> None:
    empty = measured(replace(COST, layers=(replace(FC, nnz=0),)))
    assert judged("compression_ratio.fc", "160", empty).status == "exact"


@pytest.mark.parametrize("name", ["density_pct.nowhere", "density_pct", "huffman_pct"])
def test_what_no_count_determines_cannot_be_checked(name: str) -> None:
    found = judged(name, "10", measured(replace(COST, layers=())))
    assert (found.status, found.measured) == ("cannot check", None)
    assert found.reason.startswith("depends on the input or on the method's state")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("sparsity_pct", "79", 100 * 468 / 592), ("params_millions", "2.5", 0.000124)],
)
def test_a_doubtful_cell_shows_what_was_counted(name: str, text: str, value: float) -> None:
    found = judged(name, text, suspect=True, note="a slip of the pen")
    assert (found.status, found.reason) == ("suspect", "a slip of the pen")
    assert found.measured == pytest.approx(value)


def test_a_dense_row_may_count_every_parameter_a_sparse_one_may_not() -> None:
    dense = replace(COST, prunable_nnz=592, params=620)
    assert judged("params_millions", "0.00062", measured(dense)).status == "exact"
    assert judged("params_millions", "0.000592", measured(dense)).status == "exact"
    assert judged("params_millions", "0.00070", measured(dense)).measured == 0.000592
    assert judged("params_millions", "0.00062").status == "mismatch"


def test_a_methods_own_count_of_parameters_comes_first() -> None:
    own = replace(COST, extra={"params_millions": 0.3})
    found = judged("params_millions", "0.3", measured(own))
    assert (found.status, found.measured) == ("exact", 0.3)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("top1_pct", "91.74"),
        ("top1_error_pct", "8.26"),
        ("top3_pct", "98.00"),
        ("top5_pct", "99.00"),
    ],
)
def test_accuracies_are_shares_of_the_images(name: str, text: str) -> None:
    found = judged(name, text)
    assert found.status == "exact"
    assert found.measured == pytest.approx(float(text))


def test_the_data_are_official_unless_told_otherwise() -> None:
    found = judged("top1_pct", "91.70")
    assert found.tolerance == pytest.approx(0.10, abs=1e-12)
    assert judged("top1_pct", "91.70", measured(approximate_images=None)).status == "cannot check"


def test_a_smoke_run_judges_no_accuracy() -> None:
    for name in ("top1_pct", "top1_error_pct"):
        found = judged(name, "50", measured(smoke="100 images"))
        assert (found.status, found.reason) == ("smoke", "100 images")
        assert found.measured is not None


def test_a_smoke_run_judges_figures_of_the_weights_alone() -> None:
    few: dict[str, object] = {"smoke": "100 images"}
    own = replace(COST, extra={"kept_pct": 40.0})
    assert judged("kept_pct", "40", measured(own, **few)).status == "exact"
    seeds = {"per_seed_pct": {"kept_pct": [40.0, 42.0]}}
    per_image = replace(own, spread={"kept_pct": SPREAD})
    for found in (measured(own, **few, **seeds), measured(per_image, **few)):
        unjudged = judged("kept_pct", "40", found)
        assert (unjudged.status, unjudged.reason) == ("smoke", "100 images")
    assert judged("kept_pct", "40", measured(per_image)).status == "exact"


@pytest.mark.parametrize(("assumed", "status"), [("", "inconsistent"), ("length", "not reached")])
def test_seeds_are_compared_by_their_mean(assumed: str, status: str) -> None:
    seeds: Mapping[str, list[float]] = {"top1_pct": [90.0, 92.0], "kept_pct": [40.0, 42.0]}
    own = measured(replace(COST, extra={"kept_pct": 40.0}), per_seed_pct=seeds, assumed=assumed)
    for name, mean in (("top1_pct", 91.0), ("kept_pct", 41.0)):
        found = judged(name, "99", own)
        assert (found.status, found.measured) == (status, mean)
        near = judged(name, str(mean), own)
        assert near.status == ("reached" if assumed else "consistent")
    # What was not published is shown all the same, as the mean too.
    assert judge(printed(sparsity_pct="79.1"), own)["top1_pct"].measured == 91.0


def test_without_images_an_accuracy_waits_and_weights_are_judged() -> None:
    found = judge(printed(top1_pct="91.74", sparsity_pct="79.1"), measured(counts=None))
    assert found["top1_pct"].status == "cannot check"
    assert found["top1_pct"].reason == "waits for the images of imagenet"
    assert found["sparsity_pct"].status == "exact"
    assert "loss" not in found


@pytest.mark.parametrize(("paper", "reason"), [(LOCAL, "own result"), ("str", "not published")])
def test_what_nobody_published_says_whose_it_is(paper: str, reason: str) -> None:
    found = judge(replace(ROW, published={}, paper=paper), measured())
    assert {(c.status, c.reason) for c in found.values()} == {("reported", reason)}
    assert found.keys() == {"top1_pct", "loss", "sparsity_pct", "flops_millions"}


def test_a_network_that_skips_per_image_has_no_zeros_to_tell_of() -> None:
    row = replace(ROW, published={}, granularity="dynamic")
    assert "sparsity_pct" not in judge(row, measured())


def test_an_error_rate_that_was_printed_shows_the_accuracy_beside_it() -> None:
    found = judge(printed(top1_error_pct="8.26"), measured())
    assert (found["top1_error_pct"].status, found["top1_pct"].status) == ("exact", "reported")
    assert found["top1_pct"].published == "91.74"
    assert found["top1_pct"].measured == pytest.approx(91.74)


def test_a_number_far_from_the_printed_one_is_a_mismatch() -> None:
    assert judged("top1_pct", "50").status == "mismatch"
