"""Tolerances, rounding and priorities of verdicts, against hand-computed cases."""

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.registry import Published
from harness.results import tolerances, verdicts
from harness.results.verdicts import Comparison


def published(text: str, **facts: object) -> Published:
    return Published(text=text, source="table 1", **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "measured", "status"),
    [
        ("75.03", 75.03, "exact"),
        ("75.03", 75.045, "exact"),  # half a unit 0.005 + 0.01
        ("75.03", 75.0451, "match"),
        ("75.03", 75.13, "match"),
        ("75.03", 75.1301, "near"),
        ("75.03", 74.73, "near"),
        ("75.03", 74.72, "mismatch"),
        ("75.0", 75.06, "exact"),  # fewer printed digits: half a unit is 0.05
        ("76", 76.51, "exact"),
        ("76", 76.52, "mismatch"),
    ],
)
def test_accuracy_status_follows_printed_digits(text: str, measured: float, status: str) -> None:
    assert tolerances.judge_accuracy(published(text), measured, n_total=10_000).status == status


@pytest.mark.parametrize(
    ("bound", "measured", "status"),
    [
        ("at least", 99.0, "exact"),
        ("at least", 94.92, "match"),
        ("at most", 90.0, "exact"),
        ("at most", 95.4, "mismatch"),
        ("cut off", 95.99, "exact"),  # its further digits are dropped, so it prints 95
        ("cut off", 96.05, "match"),
        ("cut off", 94.6, "mismatch"),  # which would round to 95
    ],
)
def test_a_bound_holds_on_its_own_side(bound: str, measured: float, status: str) -> None:
    assert (
        tolerances.judge_accuracy(published("95", bound=bound), measured, 10_000).status == status
    )


def test_no_stated_variant_gives_it_and_nobody_is_contradicted() -> None:
    row = published("91.96")
    judged = tolerances.judge_variants(row, {"one": 53.55, "two": 74.54}, 10_000)
    assert (judged.status, judged.measured) == ("ambiguous preprocessing", 53.55)
    assert (
        judged.reason == "stated in 2 variants, none gives 91.96: one gives 53.55, two gives 74.54"
    )
    assert not verdicts.failed(judged.status)


def test_the_variant_that_gives_the_printed_number_is_named() -> None:
    row = published("91.96")
    judged = tolerances.judge_variants(row, {"one": 53.55, "two": 91.90}, 10_000)
    assert (judged.status, judged.measured) == ("match", 53.55)
    assert judged.reason.startswith("as two prepares pictures, |Δ| <= 0.10 pp")
    both = tolerances.judge_variants(row, {"one": 91.96, "two": 91.90}, 10_000)
    assert (both.status, both.reason.split(",")[0]) == ("exact", "as one prepares pictures")


def test_approximate_images_widen_match_and_near_but_never_exact() -> None:
    # 20 of 10,000 images can move the accuracy by 0.20 points.
    def judged(measured: float) -> Comparison:
        return tolerances.judge_accuracy(published("91.73"), measured, 10_000, 20)

    assert judged(91.73).status == "exact"
    assert judged(91.75).status == "match"
    assert judged(92.03).status == "match"
    assert judged(92.04).status == "near"
    assert judged(92.23).status == "near"
    assert judged(92.24).status == "mismatch"
    assert "20 approximate images" in judged(92.24).reason


@pytest.mark.parametrize(
    ("measured", "tolerance", "reason"),
    [
        (91.74, 0.015, "|Δ| <= 0.015 pp, half a printed digit + 0.01"),
        (91.93, 0.30, "|Δ| <= 0.10 pp + 0.20 pp for 20 approximate images"),
        (92.13, 0.50, "|Δ| <= 0.30 pp + 0.20 pp for 20 approximate images"),
        (92.73, 0.50, "|Δ| = 1.00 pp > 0.30 pp + 0.20 pp for 20 approximate images"),
    ],
)
def test_the_tolerance_that_decided_is_told(measured: float, tolerance: float, reason: str) -> None:
    judged = tolerances.judge_accuracy(published("91.73"), measured, 10_000, 20)
    assert judged.tolerance == pytest.approx(tolerance, abs=1e-9)
    assert judged.reason == reason
    assert judged.delta == pytest.approx(measured - 91.73)


def test_the_official_images_widen_nothing_however_few_they_are() -> None:
    judged = tolerances.judge_accuracy(published("76.0"), 77.0, n_total=10)
    assert (judged.status, judged.tolerance) == ("mismatch", tolerances.NEAR_PP)
    either = tolerances.judge_variants(published("76.0"), {"a": 77.0, "b": 78.0}, n_total=10)
    assert (either.status, either.tolerance) == ("ambiguous preprocessing", tolerances.NEAR_PP)


def test_unknown_copy_of_the_data_cannot_be_judged() -> None:
    judged = tolerances.judge_accuracy(published("91.73"), 91.73, 10_000, None)
    assert judged.status == "cannot check"


def test_retrained_mean_within_two_standard_errors_is_consistent() -> None:
    # s_pub = 0.24 (n=1 assumed), s = std([90.0, 90.4, 90.8]) = 0.4, n = 3.
    limit = 2 * math.sqrt(0.24**2 + 0.4**2 / 3)
    row = published(f"{90.4 + limit - 0.001:.3f}", std="0.24")
    assert tolerances.judge_retrained(row, [90.0, 90.4, 90.8]).status == "consistent"
    row = published(f"{90.4 + limit + 0.001:.3f}", std="0.24")
    assert tolerances.judge_retrained(row, [90.0, 90.4, 90.8]).status == "inconsistent"


def test_spread_of_few_seeds_is_floored_at_a_fifth_of_a_point() -> None:
    # One seed: both standard deviations become 0.2, n = 1 each: 2*sqrt(0.04+0.04) = 0.5657.
    assert tolerances.judge_retrained(published("90.00"), [90.56]).status == "consistent"
    assert tolerances.judge_retrained(published("90.00"), [90.57]).status == "inconsistent"


def test_published_number_of_runs_narrows_the_tolerance() -> None:
    # 2*sqrt(0.04/4 + 0.04) = 0.4472
    row = published("90.00", n_runs=4)
    assert tolerances.judge_retrained(row, [90.44]).status == "consistent"
    assert tolerances.judge_retrained(row, [90.45]).status == "inconsistent"


@pytest.mark.parametrize(
    ("text", "measured", "status"),
    [
        ("2.49", 2.492045, "exact"),
        ("2.49", 2.4951, "near"),  # rounds to 2.50, one unit away
        ("4.47", 4.775866, "mismatch"),
        ("343", 342.604307, "exact"),
    ],
)
def test_counts_are_compared_as_printed(text: str, measured: float, status: str) -> None:
    assert tolerances.judge_count(published(text), measured).status == status


@pytest.mark.parametrize(
    ("measured", "status", "tolerance", "reason"),
    [
        (2.4949, "exact", 0.005, "rounds to 2.49 as printed"),
        (2.4999, "near", 0.01, "rounds to 2.50, one unit of the last digit away"),
        (2.5021, "mismatch", 0.01, "rounds to 2.50, printed 2.49"),  # more than a unit away
    ],
)
def test_a_count_is_near_within_one_printed_unit(
    measured: float, status: str, tolerance: float, reason: str
) -> None:
    judged = tolerances.judge_count(published("2.49"), measured)
    assert (judged.status, judged.reason) == (status, reason)
    assert judged.tolerance == pytest.approx(tolerance)


@pytest.mark.parametrize(
    ("zeros", "status"),
    [(449, "claim contradicted"), (450, "mismatch"), (500, "mismatch"), (890, "near")],
)
def test_fewer_than_half_of_the_claimed_zeros_contradict_the_claim(zeros: int, status: str) -> None:
    assert tolerances.judge_sparsity(published("90"), 1000 - zeros, 1000).status == status


def test_claimed_sparsity_without_zeros_is_contradicted() -> None:
    judged = tolerances.judge_sparsity(published("90"), nnz=269_722, total=269_722)
    assert judged.status == "claim contradicted"
    assert judged.measured == 0.0


def test_fewer_zeros_than_claimed_are_a_mismatch_while_most_are_there() -> None:
    # 87.43 % measured where 90 % is claimed: the file is sparse, the figure is wrong.
    judged = tolerances.judge_sparsity(published("90"), nnz=34_051, total=270_896)
    assert judged.status == "mismatch"
    assert "87" in judged.reason


def test_claimed_sparsity_that_is_there_is_exact() -> None:
    assert tolerances.judge_sparsity(published("90"), nnz=1_000, total=10_000).status == "exact"


def test_parameters_that_contradict_the_sparsity_are_named() -> None:
    # STR's 81.27 % row prints 4.47 M; 18.73 % of 25,502,912 weights are 4.78 M.
    rows = {"params_millions": published("4.47"), "sparsity_pct": published("81.27")}
    found = tolerances.check_figures(rows, 25_502_912)
    assert found["params_millions"].status == "published figure inconsistent"
    assert "4.78" in found["params_millions"].reason


@pytest.mark.parametrize(
    ("params", "sparsity"),
    [("2.49", "90.23"), ("1.24", "95.15"), ("0.99", "96.11"), ("0.50", "98.05"), ("0.26", "98.98")],
)
def test_consistent_published_rows_pass(params: str, sparsity: str) -> None:
    rows = {"params_millions": published(params), "sparsity_pct": published(sparsity)}
    assert tolerances.check_figures(rows, 25_502_912) == {}


@pytest.mark.parametrize(
    ("params", "consistent"),
    [
        # 90 +- 0.5 % of a million leave 0.095 to 0.105 M, and 0.094 rounds from up to 0.0945.
        ("0.094", False),
        ("0.095", True),
        ("0.105", True),
        ("0.106", False),
        ("0.09", True),  # 0.095 rounds to it, at the very edge
        ("0.11", True),  # so does 0.105
        ("0.08", False),
        ("0.12", False),
    ],
)
def test_parameters_and_sparsity_agree_if_some_unrounded_values_do(
    params: str, consistent: bool
) -> None:
    rows = {"params_millions": published(params), "sparsity_pct": published("90")}
    assert (tolerances.check_figures(rows, 1_000_000) == {}) == consistent


@pytest.mark.parametrize("doubtful", ["params_millions", "sparsity_pct"])
def test_doubtful_figures_contradict_nothing(doubtful: str) -> None:
    rows = {"params_millions": published("4.47"), "sparsity_pct": published("81.27")}
    rows[doubtful] = published(rows[doubtful].text, suspect=True, note="doubtful")
    assert tolerances.check_figures(rows, 25_502_912) == {}


def test_overall_is_the_worst_judged_metric() -> None:
    metrics = {
        "top1_pct": Comparison(status="exact", reason="fine"),
        "sparsity_pct": Comparison(status="claim contradicted", reason="no zeros"),
        "loss": Comparison(status="reported"),
    }
    found = verdicts.overall(metrics)
    assert found.status == "claim contradicted"
    assert found.reason == "sparsity_pct: no zeros"


def test_smoke_overrides_every_metric() -> None:
    metrics = {"top1_pct": Comparison(status="exact")}
    assert verdicts.overall(metrics, smoke="100 of 10000 images").status == "smoke"


@pytest.mark.parametrize(
    ("statuses", "smoke", "expected"),
    [
        (("reported", "reported"), "", ("reported", "nothing published to compare with")),
        (("reported", "suspect"), "", ("suspect", "doubtful in the source: b")),
        (("suspect", "suspect"), "", ("suspect", "doubtful in the source: a, b")),
        (("reported", "suspect"), "few images", ("smoke", "few images")),
        (("smoke", "exact"), "few images", ("smoke", "few images")),
        (("smoke", "claim contradicted"), "few images", ("claim contradicted", "b: told")),
        (("near", "near"), "", ("near", "a: told; b: told")),
        (("exact", "suspect"), "", ("exact", "a: told")),
    ],
)
def test_the_whole_is_judged_by_what_was_judged(
    statuses: tuple[str, str], smoke: str, expected: tuple[str, str]
) -> None:
    metrics = {
        name: Comparison(status=status, reason="told")
        for name, status in zip("ab", statuses, strict=True)
    }
    found = verdicts.overall(metrics, smoke)
    assert (found.status, found.reason) == expected


def test_failures_are_the_statuses_that_exit_with_three() -> None:
    assert set(verdicts.FAILURES) == {
        "published figure inconsistent",
        "inconsistent",
        "mismatch",
        "claim contradicted",
    }
    assert verdicts.failed("mismatch") is True and verdicts.failed("near") is False


@given(st.floats(0, 100), st.floats(0, 100), st.integers(0, 200))
@settings(deadline=None, max_examples=50)
def test_a_larger_distance_never_gets_a_better_status(a: float, b: float, images: int) -> None:
    row = published("50.00")
    near, far = sorted((a, b), key=lambda value: abs(value - 50))
    order = verdicts.STATUSES.index
    first = tolerances.judge_accuracy(row, near, 10_000, images).status
    second = tolerances.judge_accuracy(row, far, 10_000, images).status
    assert order(first) <= order(second)


def reached(row: Published, measured: list[float], metric: str = "top1_error_pct") -> Comparison:
    return tolerances.judge_reached(metric, row, measured, "length, runs")


def test_a_protocol_that_is_partly_ours_is_reached_or_not_and_contradicts_nobody() -> None:
    # 2 * sqrt(0.11^2 + 0.11^2 / 4) = 0.24597, and half a digit of 1.6 is 0.05.
    row = published("1.6", assumed_std="0.11")
    near, far = [1.89, 1.89, 1.89, 1.89], [1.9, 1.9, 1.9, 1.9]
    assert reached(row, near).status == "reached"
    assert reached(row, far).status == "not reached"
    assert not verdicts.failed("not reached") and not verdicts.failed("reached")
    assert reached(row, far).tolerance == pytest.approx(0.29597, abs=1e-5)


def test_the_reason_says_what_was_assumed_and_what_could_be_resolved() -> None:
    reason = reached(published("1.64", assumed_std="0.11"), [2.0, 2.1, 2.2, 2.1, 2.1]).reason
    assert reason == (
        "Δ = +0.46, resolved from 0.25 on (n=5 seeds; no ± printed, ±0.11 of one run assumed); "
        "assumed: length, runs"
    )
    printed = reached(published("1.88", std="0.10", n_runs=20, assumed_std="0.1"), [2.0]).reason
    assert "printed ±0.10 of 20 runs" in printed
    floor = reached(published("1.6"), [1.6]).reason  # nothing is said at all: 0.2 points
    assert "no ± printed, ±0.2 of one run assumed" in floor


def test_our_own_larger_spread_counts_when_seeds_scatter_more_than_assumed() -> None:
    seeds = [1.0, 2.0, 3.0]  # s = 1
    limit = 2 * math.sqrt(0.11**2 + 1 / 3) + 0.005
    assert reached(published("2.00", assumed_std="0.11"), seeds).tolerance == pytest.approx(limit)


@pytest.mark.parametrize(
    ("bound", "gain", "status"),
    [
        ("at least", 0.9, "reached"),
        ("at least", 0.1, "reached"),  # 2 * sqrt(2) * 0.1 + 0.05 = 0.333 below 0.3
        ("at least", -0.1, "not reached"),
        ("at most", -5.0, "reached"),
        ("at most", 0.64, "not reached"),
        (None, 0.64, "not reached"),
    ],
)
def test_a_bound_counts_on_its_own_side_only(bound: str, gain: float, status: str) -> None:
    row = published("0.3", bound=bound, assumed_std="0.1")
    assert reached(row, [gain], "gain_over_dense_pp").status == status


@pytest.mark.parametrize(
    ("metric", "text", "measured", "status"),
    [
        ("top1_error_pct", "1.7", 1.0, "reached"),  # fewer errors than printed
        ("top1_error_pct", "1.7", 2.4, "not reached"),
        ("top1_pct", "98.3", 99.0, "reached"),
        ("top1_pct", "98.3", 97.6, "not reached"),
        ("loss", "1.7", 1.0, "reached"),
        ("activations_pct", "38", 30.0, "not reached"),  # neither side of a share is the good one
        ("density_pct.fc1", "8", 10.0, "not reached"),
    ],
)
def test_a_result_that_is_better_than_printed_is_reached(
    metric: str, text: str, measured: float, status: str
) -> None:
    found = reached(published(text), [measured], metric)
    assert found.status == status
    assert found.reason.startswith("better than printed: ") == (status == "reached")


def test_a_retrained_number_says_which_spread_was_taken() -> None:
    silent = tolerances.judge_retrained(published("75.03"), [75.0, 75.1]).reason
    assert "no ± printed, ±0.2 of one run assumed" in silent
    told = tolerances.judge_retrained(published("75.03", std="0.30", n_runs=3), [75.0]).reason
    assert "printed ±0.30 of 3 runs" in told


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"std": "0.30", "n_runs": 3}, "printed ±0.30 of 3 runs"),
        ({"std": "0.30"}, "±0.30 of one run assumed"),
        ({"n_runs": 3}, "no ± printed, ±0.2 of 3 runs assumed"),
        ({}, "no ± printed, ±0.2 of one run assumed"),
    ],
)
@pytest.mark.parametrize(("measured", "sign"), [(75.0, "<="), (90.0, ">")])
def test_the_reason_of_a_retrained_number_names_its_distance_and_both_spreads(
    facts: dict[str, object], said: str, measured: float, sign: str
) -> None:
    judged = tolerances.judge_retrained(published("75.03", **facts), [measured])
    assert judged.tolerance is not None
    assert judged.reason == (
        f"|Δ| = {abs(measured - 75.03):.2f} pp {sign} 2 standard errors = "
        f"{judged.tolerance:.2f} pp (n=1 seeds; {said})"
    )


def test_a_spread_that_a_row_assumes_may_be_below_a_fifth_of_a_point() -> None:
    judged = reached(published("1.60", assumed_std="0.05"), [1.6])
    assert judged.tolerance == pytest.approx(2 * math.sqrt(0.05**2 + 0.05**2) + 0.005)


def test_better_than_printed_is_said_only_beyond_the_limit() -> None:
    # 2 * sqrt(0.75^2 / 4 + 0.5^2) + 0.5 = 1.75, exactly, in binary too.
    row = published("90", std="0.75", n_runs=4, assumed_std="0.5")
    assert reached(row, [91.75], "top1_pct").reason.startswith("Δ = +1.75")
    assert reached(row, [92.0], "top1_pct").reason.startswith("better than printed: Δ = +2.00")


@pytest.mark.parametrize(
    ("metric", "side"),
    [("top1_pct", 1), ("top3_pct", 1), ("top5_pct", 1), ("top1_error_pct", -1), ("loss", -1)],
)
def test_every_accuracy_has_one_good_side(metric: str, side: int) -> None:
    assert tolerances.better_than_printed(metric, None, 0.1 * side)
    assert not tolerances.better_than_printed(metric, None, -0.1 * side)
    assert not tolerances.better_than_printed(metric, None, 0.0)
    assert not tolerances.better_than_printed(metric, "at least", 0.1 * side)


@pytest.mark.parametrize("facts", [{"bound": "about"}, {"assumed_std": "small"}])
def test_wrong_bounds_and_spreads_are_faults(facts: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        published("0.3", **facts)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8))
def test_the_deviation_is_that_of_the_standard_library(values: list[float]) -> None:
    assert tolerances.sample_std(values) == pytest.approx(statistics.stdev(values), abs=1e-9)
    assert tolerances.sample_std(values[:1]) is None and tolerances.sample_std([]) is None


def test_what_a_verdict_is_said_to_mean_is_the_tolerance_that_decides_it() -> None:
    assert verdicts.MEANINGS["match"] == f"within {tolerances.MATCH_PP:.2f} points"
    assert verdicts.MEANINGS["near"] == f"within {tolerances.NEAR_PP:.2f} points"
    assert f"+ {tolerances.ROUNDING_SLACK_PP:.2f} points" in verdicts.MEANINGS["exact"]
