"""The Pareto front against its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.reports.pareto import front

SMALL = st.integers(0, 6).map(float)  # few values, so that ties are common


@given(st.lists(st.tuples(SMALL, SMALL), max_size=15))
def test_a_point_is_on_the_front_exactly_if_nothing_dominates_it(
    points: list[tuple[float, float]],
) -> None:
    def dominated(cost: float, value: float) -> bool:
        return any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)

    assert front(points) == [not dominated(*point) for point in points]


def test_the_front_by_hand() -> None:
    assert front([(1, 50), (2, 60), (2, 60), (2, 55), (3, 60), (4, 70)]) == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]
