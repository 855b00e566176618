"""The Pareto front against its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.reports.plots.pareto import front

SMALL = st.integers(0, 6).map(float)  # few values, so that ties are common


@given(st.lists(st.tuples(SMALL, SMALL), max_size=15))
def test_a_point_is_on_the_front_exactly_if_nothing_dominates_it(
    points: list[tuple[float, float]],
) -> None:
    def dominated(cost: float, value: float) -> bool:
        return any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in points)

    found = front(points)
    assert sorted(found) == [i for i, point in enumerate(points) if not dominated(*point)]
    assert [points[i] for i in found] == sorted(points[i] for i in found)


def test_the_front_by_hand() -> None:
    points = [(4.0, 70.0), (1.0, 50.0), (2.0, 60.0), (2.0, 60.0), (2.0, 55.0), (3.0, 60.0)]
    assert front(points) == [1, 2, 3, 0]
