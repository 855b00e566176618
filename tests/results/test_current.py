"""Which result of an entry counts: everywhere the same one."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from harness import registry, results
from harness.reports import leaderboard, stored_rows
from harness.results import current
from tests.support.results import made, trained

KEY = ("str-a-90", "evaluated")
FORMER = {"old": "new"}


def test_a_full_evaluation_beats_a_newer_smoke_run() -> None:
    full = made(when="20260101T0Z-1", status="exact")
    smoke = made(when="20260102T0Z-1", status="smoke", smoke="10 of 10000 images")
    newer = made(when="20260103T0Z-1", status="mismatch")
    assert current.per_mode([full, smoke], {}) == {KEY: full}
    assert current.per_mode([smoke, full], {}) == {KEY: full}
    assert current.per_mode([newer, full, smoke], {}) == {KEY: newer}
    assert current.per_mode([smoke], {}) == {KEY: smoke}


def test_evaluated_and_trained_results_of_an_entry_are_kept_apart() -> None:
    pair = [made(entry="x"), trained(entry="x", paper="str")]
    assert set(current.per_mode(pair, {})) == {("x", "evaluated"), ("x", "trained")}


def test_ones_own_never_takes_the_place_of_an_entry() -> None:
    row, own = made(entry="x"), made(entry="x", when="20261102T120000Z-00000002", paper=None)
    assert current.per_mode([row, own], {}) == {
        ("x", "evaluated"): row,
        ("x", "own evaluated"): own,
    }
    assert current.per_entry([row, own], {}) == {"x": row}
    assert current.per_entry([own], {}) == {"x": own}
    former = made(entry="old", paper=None)  # an own name that is an entry's former id stays apart
    assert current.per_mode([former], FORMER) == {("old", "own evaluated"): former}


def test_results_under_a_former_id_and_todays_are_one_row() -> None:
    former = made(entry="old", when="20260101T0Z-1")
    today = made(entry="new", when="20260102T0Z-1")
    assert current.per_mode([former, today], FORMER) == {("new", "evaluated"): today}
    assert current.per_mode([former], FORMER) == {("new", "evaluated"): former}


def test_the_leaderboard_shows_an_alias_and_its_id_once_by_todays_id(home: object) -> None:
    aliased = replace(registry.load(), aliases=FORMER)
    results.save(made(entry="old", when="20260101T0Z-1"))
    assert [row.entry for row in leaderboard(stored_rows(), aliased)] == ["new"]
    results.save(made(entry="new", when="20260102T0Z-1"))
    assert [row.entry for row in leaderboard(stored_rows(), aliased)] == ["new"]


def test_a_retrained_success_does_not_hide_an_evaluated_mismatch(home: object) -> None:
    results.save(made(entry="x", when="20260101T0Z-1", status="mismatch"))
    results.save(trained(entry="x", when="20260102T0Z-1", status="consistent"))
    assert current.verdicts({}) == {"x": "mismatch"}


def test_the_verdict_of_an_entry_is_that_of_its_newest_full_result(home: object) -> None:
    results.save(made(entry="old", when="20260101T0Z-1", status="mismatch"))
    results.save(made(entry="new", when="20260102T0Z-1", status="exact"))
    smoke = "10 of 10000 images"
    results.save(made(entry="new", when="20260103T0Z-1", status="smoke", smoke=smoke))
    results.save(made(entry="y", when="20260101T0Z-1", status="smoke", smoke=smoke))
    assert current.verdicts(FORMER) == {"new": "exact", "y": "smoke"}


def test_all_results_of_an_entry_are_found_under_every_name(home: object) -> None:
    for entry, when in (("new", "20260102T0Z-1"), ("old", "20260101T0Z-1"), ("x", "20260103T0Z-1")):
        results.save(made(entry=entry, when=when))
    for name in ("old", "new"):
        assert [r.entry for r in results.load_entry(name, FORMER)] == ["old", "new"]


@given(st.permutations(range(6)), st.lists(st.booleans(), min_size=6, max_size=6))
def test_the_order_of_the_results_does_not_matter(order: list[int], smokes: list[bool]) -> None:
    stored = [
        made(entry="x", when=f"2026010{i + 1}T0Z-1", smoke="few" if smokes[i] else "")
        for i in range(6)
    ]
    (chosen,) = current.per_entry([stored[i] for i in order], {}).values()
    full = [i for i in range(6) if not smokes[i]] or list(range(6))
    assert chosen is stored[full[-1]]


def test_what_says_more_of_the_published_file_speaks_for_an_entry() -> None:
    """From the least to the most, each older than the one it speaks over."""
    order = [
        made(entry="x", mode="counted"),
        made(entry="x", smoke="10 images", status="smoke"),
        trained(entry="x", paper="str"),
        made(entry="x"),
    ]
    dated = [
        replace(result, result_id=f"2026010{9 - place}T0Z-1") for place, result in enumerate(order)
    ]
    assert current.per_entry(dated[:1], {}) == {"x": dated[0]}
    for place, most in enumerate(dated[1:], 1):
        for less in dated[:place]:
            assert current.per_entry([less, most], {}) == {"x": most}
            assert current.per_entry([most, less], {}) == {"x": most}
