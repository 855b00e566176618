"""Every published figure of a row has a status of its own, and says what it waits for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import registry
from harness.registry import Published
from harness.results import STATUSES, FigureStatus, Means, figure_statuses, outcome_of
from harness.results.verdicts import Comparison
from tests.support.results import made

HERE = Means(file="here", data=False)
NOTHING = Means(file="none", data=False)


def number(text: str, **facts: object) -> Published:
    return Published(text=text, source="README", **facts)  # type: ignore[arg-type]


ROW = replace(
    registry.get("acdc-resnet50-90"),
    published={"top1_pct": number("75.03"), "sparsity_pct": number("90")},
)


def found(
    status: str, measured: float | None = 90.0, published: str | None = "90"
) -> dict[str, Comparison]:
    return {"sparsity_pct": Comparison(status, published, "README", measured)}


def by_figure(statuses: tuple[FigureStatus, ...]) -> dict[str, FigureStatus]:
    return {status.figure: status for status in statuses}


def test_a_sparsity_is_judged_where_the_accuracy_waits_for_the_images() -> None:
    stored = made(entry=ROW.id, smoke="1,000 sample pictures")
    metrics = {"top1_pct": Comparison("smoke", "75.03", "README", 70.0), **found("exact")}
    statuses = by_figure(figure_statuses(ROW, [replace(stored, metrics=metrics)], HERE))
    accuracy, sparsity = statuses["top1_pct"], statuses["sparsity_pct"]
    assert (accuracy.outcome, accuracy.waits_for, accuracy.basis) == ("waits", "data", None)
    assert accuracy.comparison is not None and accuracy.comparison.measured == 70.0
    assert accuracy.command == f"bench reproduce {ROW.id} --data-root DIR"
    assert (sparsity.outcome, sparsity.basis) == ("reproduced", "evaluated")
    assert sparsity.waits_for is None


@pytest.mark.parametrize(
    ("means", "recipe", "outcome", "needs"),
    [
        (Means("published", True), "r", "waits", "file"),
        (Means("here", False), "r", "waits", "data"),
        (Means("here", True), "r", "waits", "measurement"),
        (Means("gone", True), "r", "waits", "gpu"),
        (Means("none", True), "r", "waits", "gpu"),
        (Means("none", True), None, "cannot be checked", None),
        (Means("gone", True), None, "cannot be checked", None),
    ],
)
def test_what_an_unjudged_accuracy_waits_for(
    means: Means, recipe: str | None, outcome: str, needs: str | None
) -> None:
    row = replace(ROW, recipe=recipe)
    status = by_figure(figure_statuses(row, [], means))["top1_pct"]
    assert (status.outcome, status.waits_for) == (outcome, needs)
    assert bool(status.command) == (needs is not None)


def test_a_small_data_set_waits_for_a_training_that_this_machine_can_do() -> None:
    row = replace(ROW, dataset="cifar10", recipe="r")
    status = by_figure(figure_statuses(row, [], NOTHING))["top1_pct"]
    assert status.waits_for == "training"
    assert status.command == f"bench reproduce {row.id} --mode train"


def test_the_sparsity_of_a_file_that_is_here_waits_for_no_images() -> None:
    statuses = by_figure(figure_statuses(ROW, [], HERE))
    assert statuses["top1_pct"].waits_for == "data"
    assert statuses["sparsity_pct"].waits_for == "measurement"
    dynamic = replace(ROW, granularity="dynamic")
    assert by_figure(figure_statuses(dynamic, [], HERE))["sparsity_pct"].waits_for == "data"


def test_the_published_weights_come_before_a_training_and_both_before_arithmetic() -> None:
    evaluated = replace(made(entry=ROW.id), metrics=found("mismatch"))
    trained = replace(made(entry=ROW.id, mode="trained"), metrics=found("consistent"))
    derived = found("exact")
    for stored, basis, outcome in (
        ([trained, evaluated], "evaluated", "contradicted"),
        ([trained], "retrained", "reproduced"),
        ([], "derived", "reproduced"),
    ):
        status = by_figure(figure_statuses(ROW, stored, NOTHING, derived))["sparsity_pct"]
        assert (status.basis, status.outcome) == (basis, outcome)


def test_a_judgement_counts_before_a_measurement_that_is_none() -> None:
    smoke = replace(made(entry=ROW.id, smoke="few"), metrics=found("cannot check"))
    status = by_figure(figure_statuses(ROW, [smoke], HERE, found("exact")))["sparsity_pct"]
    assert (status.basis, status.outcome) == ("derived", "reproduced")


def test_a_doubtful_cell_is_never_judged() -> None:
    row = replace(ROW, published={"sparsity_pct": number("90", suspect=True, note="a typo")})
    stored = replace(made(entry=row.id), metrics=found("suspect"))
    (status,) = figure_statuses(row, [stored], HERE)
    assert (status.outcome, status.reason, status.waits_for) == ("doubtful", "a typo", None)


def test_results_of_other_rows_and_of_former_ids() -> None:
    stored = replace(made(entry="former"), metrics=found("exact"))
    assert figure_statuses(ROW, [stored], HERE)[1].outcome == "waits"
    renamed = figure_statuses(ROW, [stored], HERE, aliases={"former": ROW.id})[1]
    assert renamed.outcome == "reproduced"


def test_every_status_is_an_outcome_or_no_judgement() -> None:
    unjudged = {status for status in STATUSES if outcome_of(status) is None}
    assert unjudged == {"reported", "smoke", "cannot check"}
