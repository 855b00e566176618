"""The nightly comparison at the edges of its tolerances, against counts by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.maintenance import drift
from harness.maintenance.drift import Severity
from harness.results.schema import Counts, Result
from harness.results.verdicts import Verdict
from tests.support.results import a_cost, made

N = 10_000  # 0.02 % of them: two images may flip


def told(accepted: Result, now: Result) -> list[tuple[str, str, str]]:
    return [(f.kind, str(f.severity), f.text) for f in drift.compare(accepted, now)]


def drifted(accepted: Result, now: Result) -> list[str]:
    """What is drift; everything else must be a note."""
    found = drift.compare(accepted, now)
    assert {f.severity for f in found} <= {Severity.DRIFT, Severity.NOTE}
    return [f"{f.kind}: {f.text}" for f in found if f.severity is Severity.DRIFT]


def counted(top1: int = 9_174, n: int = N, loss: float = 0.25, **others: int) -> Counts:
    facts = {"top3": n, "top5": n, **others}
    return Counts(n=n, top1=top1, loss_sum=loss * n, **facts)


def seen(**facts: Any) -> Result:
    return replace(made(), counts=counted(**facts))


def test_the_same_again_is_no_finding() -> None:
    assert told(made(), made()) == []


@pytest.mark.parametrize(
    ("images", "allowed"),
    [(1, 1), (364, 1), (5_000, 1), (9_999, 1), (10_000, 2), (14_999, 2), (50_000, 10)],
)
def test_one_image_in_five_thousand_may_flip_and_never_less_than_one(
    images: int, allowed: int
) -> None:
    assert drift.flips_allowed(images) == allowed


@pytest.mark.parametrize(("name", "pct"), [("top1", 70), ("top3", 80), ("top5", 90)])
@pytest.mark.parametrize(("sign", "change"), [(1, "+"), (-1, "-")])
def test_two_of_ten_thousand_images_may_flip_and_the_third_is_drift(
    name: str, pct: int, sign: int, change: str
) -> None:
    before = {"top1": 7_000, "top3": 8_000, "top5": 9_000}
    assert drifted(seen(**before), seen(**{**before, name: before[name] + 2 * sign})) == []
    [text] = drifted(seen(**before), seen(**{**before, name: before[name] + 3 * sign}))
    assert text == (
        f"metric drift: {name}_pct {pct}.00 -> {pct + 0.03 * sign:.2f} "
        f"({change}0.03 pp, {change}3 of 10000 images, 2 allowed)"
    )


@pytest.mark.parametrize("factor", [1.00009, 0.99991, 1.0])
def test_the_loss_may_move_by_a_ten_thousandth_of_itself(factor: float) -> None:
    assert drifted(seen(loss=0.25), seen(loss=0.25 * factor)) == []


@pytest.mark.parametrize(
    ("loss", "text"),
    [(0.25 * 1.00012, "0.25000 -> 0.25003"), (0.25 * 0.99988, "0.25000 -> 0.24997")],
)
def test_a_loss_that_moves_more_is_drift(loss: float, text: str) -> None:
    assert drifted(seen(loss=0.25), seen(loss=loss)) == [f"metric drift: loss {text}"]


@given(st.floats(1e-3, 10), st.floats(-3e-4, 3e-4))
def test_the_loss_drifts_beyond_a_ten_thousandth_and_not_below(loss: float, share: float) -> None:
    moved = abs(share)
    if 0.99e-4 < moved < 1.01e-4:
        return  # of the larger or the smaller loss: either is a ten-thousandth
    assert bool(drifted(seen(loss=loss), seen(loss=loss * (1 + share)))) == (moved > 1e-4)


@pytest.mark.parametrize("name", ["params", "nnz", "total", "macs_dense", "macs_effective"])
@pytest.mark.parametrize("step", [1, -1])
def test_counts_of_the_file_are_equal_to_the_last_one(name: str, step: int) -> None:
    cost = a_cost()
    moved = replace(cost, **{name: getattr(cost, name) + step})
    [text] = drifted(made(cost=cost), made(cost=moved))
    before = getattr(cost, name)
    assert text == f"metric drift: {name} {before:,} -> {before + step:,}"


def dynamic(macs: float, **others: Any) -> Result:
    return made(cost=replace(a_cost(), macs_effective=macs, **others), granularity="dynamic")


@pytest.mark.parametrize("macs", [1_000_000, 1_000_990, 999_010])
def test_macs_of_gates_may_move_by_a_thousandth(macs: int) -> None:
    assert drifted(dynamic(1_000_000), dynamic(macs)) == []


@pytest.mark.parametrize("macs", [1_001_100, 998_900])
def test_macs_of_gates_that_move_by_more_are_drift(macs: int) -> None:
    assert drifted(dynamic(1_000_000), dynamic(macs)) == [
        f"metric drift: macs_effective 1,000,000 -> {macs:,}"
    ]


def test_only_the_macs_of_gates_may_move_not_the_weights_of_such_a_network() -> None:
    [text] = drifted(dynamic(1_000_000, nnz=100), dynamic(1_000_000, nnz=101))
    assert text == "metric drift: nnz 100 -> 101"


def test_another_number_of_images_cannot_be_compared() -> None:
    found = told(seen(), seen(n=N - 1, top1=9_174))
    assert found == [("not comparable", "could not be checked", "10000 images -> 9999")]


def test_other_images_cannot_be_compared() -> None:
    accepted = made()
    assert accepted.data is not None
    other = replace(accepted.data, fingerprint="0" * 64, copy_name="a folder")
    # Whatever the counts are: they are of something else.
    found = told(accepted, replace(seen(top1=1), data=other))
    assert found == [
        ("not comparable", "could not be checked", "other images: official -> a folder")
    ]


def test_another_protocol_cannot_be_compared() -> None:
    accepted = made()
    protocol = replace(accepted.protocol, version=2, sha256="0123456789abcdef" * 4)
    found = told(accepted, replace(seen(top1=1), protocol=protocol))
    text = "protocol cifar10 v1 -> cifar10 v2 (01234567)"
    assert found == [("not comparable", "could not be checked", text)]


def test_another_file_is_drift_and_is_told_beside_what_cannot_be_compared() -> None:
    accepted = made()
    assert accepted.checkpoint is not None
    file = replace(accepted.checkpoint, sha256="0123456789abcdef" * 4)
    text = "accepted with sha256 cccccccccccccccc, evaluated with 0123456789abcdef"
    changed = ("changed checkpoint", "drift", text)
    assert told(accepted, replace(accepted, checkpoint=file)) == [changed]
    fewer = replace(seen(n=N - 1), checkpoint=file)
    assert told(accepted, fewer) == [
        changed,
        ("not comparable", "could not be checked", "10000 images -> 9999"),
    ]


def test_a_file_that_came_or_went_is_drift() -> None:
    without = replace(made(), checkpoint=None)
    assert drifted(without, made()) == [
        "changed checkpoint: accepted with sha256 none, evaluated with cccccccccccccccc"
    ]
    assert drifted(made(), without) == [
        "changed checkpoint: accepted with sha256 cccccccccccccccc, evaluated with none"
    ]


def judged(status: str, entry_sha256: str = "e" * 64) -> Result:
    return replace(made(), verdict=Verdict(status, "why"), entry_sha256=entry_sha256)


def test_another_verdict_on_the_same_numbers_is_drift() -> None:
    assert drifted(judged("match"), judged("near")) == [
        "verdict drift: match -> near with unchanged numbers"
    ]


def test_another_verdict_follows_from_other_claims_or_other_numbers() -> None:
    claims = "the registry's claims changed since the acceptance"
    assert told(judged("match"), judged("near", "f" * 64)) == [("changed entry", "note", claims)]
    moved = replace(judged("near"), counts=counted(top1=9_000))
    assert [text.split(":")[0] for text in drifted(judged("match"), moved)] == ["metric drift"]


def test_surroundings_are_named_and_never_fail() -> None:
    accepted = replace(
        made(),
        versions={"python": "3.11.7", "torch": "2.6.0", "timm": "1.0.20"},
        hardware={"machine": "here", "cpu": "old", "device": "cpu"},
        code={"commit": "0123456789abcdef"},
    )
    now = replace(
        accepted,
        versions={"python": "3.11.7", "torch": "2.7.0", "numpy": "2.0.0"},
        hardware={"machine": "there", "cpu": "new", "device": "cuda"},
        code={"commit": None},
    )
    assert told(accepted, now) == [
        ("environment", "note", "numpy absent -> 2.0.0"),
        ("environment", "note", "timm 1.0.20 -> absent"),
        ("environment", "note", "torch 2.6.0 -> 2.7.0"),
        ("environment", "note", "machine old (cpu) -> new (cuda)"),
        ("environment", "note", "code 0123456789 -> unknown"),
    ]


def test_the_change_is_told_in_points_of_the_accuracy() -> None:
    [text] = drifted(seen(top1=9_000), seen(top1=7_766))
    assert text == (
        "metric drift: top1_pct 90.00 -> 77.66 (-12.34 pp, -1234 of 10000 images, 2 allowed)"
    )


def test_drift_comes_before_notes() -> None:
    now = replace(seen(top1=9_000), code={"commit": "def"})
    assert [kind for kind, _, _ in told(made(), now)] == ["metric drift", "environment"]
