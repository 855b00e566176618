from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.rate_distortion import OfficialIndexError, solve_exact, solve_official, solvers
from methods.rate_distortion.solvers import official_budget
from tests.methods.rd_fixtures import TINY, arrays, described

RTOL_FLOAT32 = 1e-5  # the official table sums in float32
RTOL_OBJECTIVE = 1e-6  # the stored objectives are sums in float64 of float32 curves
DP_CASES = [case["name"] for case in described("dp_cases")]
STORED_CURVES = [
    (name, reduction, target)
    for name in TINY
    for reduction in ("worst", "mean")
    for target in described(name)[f"dp_{reduction}"]
]


def _case(name):
    case = next(case for case in described("dp_cases") if case["name"] == name)
    return case, arrays("dp_cases")[f"D/{name}"]


def _objective(curves, choices):
    return float(sum(float(curves[row, k]) for row, k in enumerate(choices)))


def _kept(choices, sizes, points):
    grid = np.arange(points) / (points - 1)
    return [n - int(grid[k] * n) for n, k in zip(sizes, choices, strict=True)]


@pytest.mark.parametrize("name", DP_CASES)
def test_exact_matches_the_stored_allocations(name):
    case, curves = _case(name)
    expected = case["exact"]
    choices = solve_exact(curves, case["n_weights"], expected["budget"], case["prev"])
    assert choices == expected["k"]
    assert sum(_kept(choices, case["n_weights"], case["points"])) == expected["kept"]
    assert _objective(curves, choices) == pytest.approx(expected["objective"], rel=RTOL_OBJECTIVE)


@pytest.mark.parametrize("name", DP_CASES)
def test_official_matches_the_published_program(name):
    case, curves = _case(name)
    arguments = (curves, case["n_weights"], case["target_sparsity"], case["prev"])
    if case["official"] == "IndexError":
        with pytest.raises(IndexError, match="4000 weights is more than the 1320 to keep"):
            solve_official(*arguments)
        return
    expected = case["official"]
    choices = solve_official(*arguments)
    assert choices == expected["k"]
    assert _objective(curves, choices) == pytest.approx(expected["objective"], rel=RTOL_FLOAT32)
    phi = (np.arange(case["points"]) / (case["points"] - 1)).astype(np.float32)
    whole = [
        int((1 - phi[k]) * np.float32(n)) for n, k in zip(case["n_weights"], choices, strict=True)
    ]
    assert whole == expected["floor_n_times_1_minus_phi"]


@pytest.mark.parametrize("name", [name for name in DP_CASES if name != "crash"])
def test_the_table_that_stands_for_the_description_is_the_published_programs(name):
    case, curves = _case(name)
    sizes, target = case["n_weights"], case["target_sparsity"]
    choices, best = _published_table(curves, sizes, target, case["prev"], solvers.PIECE)
    expected = case["official"]
    assert choices == expected["k"]
    assert int(np.isinf(best).sum()) == expected["inf_cells"]
    assert best[-1, -1] == pytest.approx(float(expected["dp_last"]), rel=RTOL_FLOAT32)


@pytest.mark.parametrize(("name", "reduction", "target"), STORED_CURVES)
def test_both_solvers_match_on_the_curves_of_stored_nets(name, reduction, target):
    tiny = described(name)
    stored = tiny[f"dp_{reduction}"][target]
    curves = arrays(name)[f"rd_dist_{reduction}"]
    exact = solve_exact(curves, tiny["n_weights"], stored["exact"]["budget"])
    assert exact == stored["exact"]["k"]
    assert _objective(curves, exact) == pytest.approx(
        stored["exact"]["objective"], rel=RTOL_OBJECTIVE
    )
    assert sum(_kept(exact, tiny["n_weights"], 101)) == stored["exact"]["kept"]
    if stored["official"] == "IndexError":
        with pytest.raises(OfficialIndexError):
            solve_official(curves, tiny["n_weights"], float(target))
    else:
        expected = [round(100 * phi) for phi in stored["official"]["phi"]]
        choices = solve_official(curves, tiny["n_weights"], float(target))
        assert choices == expected
        assert _objective(curves, choices) == pytest.approx(
            stored["official"]["objective"], rel=RTOL_FLOAT32
        )
        assert (
            official_budget(tiny["n_weights"], 101, float(target)) == stored["official"]["budget"]
        )


@st.composite
def problems(draw):
    layers, points = draw(st.integers(1, 3)), draw(st.sampled_from([2, 3, 4, 5, 11]))
    sizes = draw(st.lists(st.integers(1, 40), min_size=layers, max_size=layers))
    # Quarters: sums are exact in float64, so "optimal" needs no tolerance and ties do occur.
    row = st.lists(st.integers(0, 20).map(lambda v: v / 4), min_size=points, max_size=points)
    curves = np.array(draw(st.lists(row, min_size=layers, max_size=layers)))
    previous = draw(
        st.lists(st.sampled_from([0.0, 0.2, 0.5, 1.0]), min_size=layers, max_size=layers)
    )
    budget = draw(st.integers(0, sum(sizes)))
    return curves, sizes, budget, previous


def _brute_force(curves, sizes, budget, previous):
    points = curves.shape[1]
    best = None
    for choices in itertools.product(range(points), repeat=len(sizes)):
        reached = all(
            k / (points - 1) >= phi - 1e-6 for k, phi in zip(choices, previous, strict=True)
        )
        if reached and sum(_kept(choices, sizes, points)) <= budget:
            value = _objective(curves, choices)
            best = value if best is None else min(best, value)
    return best


@given(problems())
@settings(deadline=None, max_examples=50, derandomize=True)
def test_exact_is_optimal_and_respects_budget_and_rates_reached(problem):
    curves, sizes, budget, previous = problem
    choices = solve_exact(curves, sizes, budget, previous)
    points = curves.shape[1]
    assert sum(_kept(choices, sizes, points)) <= budget
    assert all(k / (points - 1) >= p - 1e-6 for k, p in zip(choices, previous, strict=True))
    assert _objective(curves, choices) == _brute_force(curves, sizes, budget, previous)


@given(problems(), st.integers(3, 30))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_rounding_the_budget_axis_never_exceeds_the_budget(problem, cells):
    curves, sizes, budget, previous = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solvers, "BUDGET_UNITS", cells)
        choices = solve_exact(curves, sizes, budget, previous)
    assert sum(_kept(choices, sizes, curves.shape[1])) <= budget
    assert _objective(curves, choices) >= _brute_force(curves, sizes, budget, previous)


def _published_table(curves, sizes, target, previous, piece):
    """Rule 1.4 cell by cell: the two tables in full, plain indexing, numpy's own IndexError.

    The rates chosen, and the table of costs.
    """
    curves = np.asarray(curves, dtype=np.float32)
    points = curves.shape[1]
    phi = (np.arange(points) / (points - 1)).astype(np.float32)
    budget = int((1 - target) * sum(sizes))
    order = np.argsort(sizes, kind="stable")
    best = np.full((len(sizes), budget), np.inf, dtype=np.float32)
    choice = np.zeros((len(sizes), budget), dtype=np.int64)
    for n, layer in enumerate(order):
        kept = np.float32(sizes[layer]) * (1 - phi)
        allowed = phi >= np.float32(previous[layer])
        best[n, 0] = curves[layer, -1] + (best[n - 1, 0] if n >= 2 else 0)
        choice[n, 0] = points - 1
        filled = min(sum(sizes[i] for i in order[: n + 1]), budget)
        for p in range(-(-(filled - 1) // piece)):
            for s in range(1 + piece * p, min(budget, piece * (p + 1))):
                if n == 0:
                    k = np.abs((1 - phi) - np.float32(s) / np.float32(sizes[layer])).argmin()
                    best[n, s], choice[n, s] = curves[layer, k], k
                    continue
                cost = curves[layer] + best[n - 1, s - kept.astype(np.int64)]
                cost = np.where(allowed & (s > kept), cost, np.float32(np.inf))
                best[n, s], choice[n, s] = cost.min(), cost.argmin()
        best[n, filled:], choice[n, filled:] = best[n, filled - 1], choice[n, filled - 1]
    chosen, s = [0] * len(sizes), budget
    for n in reversed(range(len(sizes))):
        k = choice[n, max(0, s - 1)]
        chosen[order[n]] = int(k)
        s = max(0, s - int((1 - phi[k]) * np.float32(sizes[order[n]])))
    return chosen, best


@given(problems(), st.sampled_from([0.1, 0.3, 0.5, 0.7]), st.sampled_from([4, 8, 4096]))
@settings(deadline=None, max_examples=50, derandomize=True)
def test_official_equals_its_description_cell_by_cell(problem, target, piece):
    curves, sizes, _, previous = problem
    if int((1 - target) * sum(sizes)) < 1:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solvers, "PIECE", piece)
        try:
            expected, _ = _published_table(curves, sizes, target, previous, piece)
        except IndexError:
            with pytest.raises(OfficialIndexError):
                solve_official(curves, sizes, target, previous)
        else:
            assert solve_official(curves, sizes, target, previous) == expected


def test_official_table_in_several_blocks_equals_one(monkeypatch):
    case, curves = _case("gap4096_b")
    monkeypatch.setattr(solvers, "_BLOCK", 1000)
    choices = solve_official(curves, case["n_weights"], case["target_sparsity"], case["prev"])
    assert choices == case["official"]["k"]


@pytest.mark.parametrize(("largest", "fails"), [(13, False), (14, True)])
def test_official_fails_from_a_layer_two_above_the_budget(largest, fails):
    sizes, curves = [7, largest], [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    target = 1 - 12.5 / sum(sizes)  # a budget of 12
    if fails:
        with pytest.raises(OfficialIndexError, match="14 weights is more than the 12 to keep"):
            solve_official(curves, sizes, target)
    else:
        expected, _ = _published_table(curves, sizes, target, [0, 0], 4096)
        assert solve_official(curves, sizes, target) == expected


@pytest.mark.parametrize("model", described("layer_tables"))
def test_official_fails_above_the_sparsity_the_table_states(model):
    """Where the published program stops on the networks of its README, five of eight too early."""
    table = described("layer_tables")[model]
    sizes = [int(np.prod(row[1])) for row in table["layers"]]
    limit = table["official_dp_index_error_above_sparsity"]  # rounded to six places
    assert official_budget(sizes, 101, limit - 1e-5) > 0
    with pytest.raises(OfficialIndexError, match=f"a layer of {max(sizes)} weights"):
        official_budget(sizes, 101, limit + 1e-5)


def test_a_network_of_25_million_weights_uses_nearly_all_of_its_budget():
    table = described("layer_tables")["resnet50_imagenet"]["layers"]
    sizes = [int(np.prod(row[1])) for row in table]
    phi = np.arange(101) / 100
    curves = np.stack([(1 + i % 7) * phi ** (2 + i % 4) for i in range(len(sizes))])
    budget = sum(sizes) // 2
    left = budget - sum(_kept(solve_exact(curves, sizes, budget), sizes, 101))
    # Rounding wastes less than a unit per layer, and a step of the grid may not fit any more.
    assert 0 <= left <= len(sizes) * -(-sum(sizes) // 131072) + max(sizes) // 100


def test_equal_distortions_take_the_smallest_rate():
    assert solve_exact(np.zeros((2, 5)), [8, 8], 16) == [0, 0]
    assert solve_exact([[0.0, 0.0, 1.0]], [10], 5) == [1]


def test_costs_replace_the_kept_weights():
    curves = [[0.0, 1.0, 4.0], [0.0, 1.5, 2.75]]
    costs = [[100, 50, 0], [10, 5, 0]]
    assert solve_exact(curves, [10, 10], 60, costs=costs) == [1, 0]
    assert solve_exact(curves, [10, 10], 15) == [1, 0]
    assert solve_exact(curves, [10, 10], 10) == [1, 1]
    assert solve_exact(curves, [10, 10], 50, costs=costs) == [1, 2]


def test_a_budget_out_of_reach_is_refused_with_its_numbers():
    with pytest.raises(ValueError, match="budget of 3 cannot be met.*at least 4 of 20"):
        solve_exact([[0.0, 1.0], [0.0, 1.0]], [10, 10], 3, rates=[0.0, 0.8])
    with pytest.raises(ValueError, match="budget of -1 cannot be met"):
        solve_exact([[0.0, 1.0]], [10], -1)
    with pytest.raises(ValueError, match="layer 0 has reached a rate above"):
        solve_exact([[0.0, 1.0]], [10], 10, [0.9], rates=[0.0, 0.8])


def test_rounding_that_makes_a_reachable_budget_unreachable_says_so(monkeypatch):
    monkeypatch.setattr(solvers, "BUDGET_UNITS", 4)
    with pytest.raises(ValueError, match="only without rounding to multiples of 5"):
        solve_exact([[0.0, 1.0], [0.0, 1.0]], [10, 10], 8, rates=[0.0, 0.6])


@pytest.mark.parametrize("solver", [solve_exact, solve_official])
def test_curves_that_do_not_fit_are_refused(solver):
    with pytest.raises(ValueError, match=r"shape \(1, 2\) do not fit 2 layer sizes"):
        solver([[0.0, 1.0]], [10, 10], 0.5)
    with pytest.raises(ValueError, match=r"curves of layers \[1\] are not finite"):
        solver([[0.0, 1.0], [0.0, float("nan")]], [10, 10], 0.5)
    with pytest.raises(ValueError, match="3 previous rates do not fit 2 layers"):
        solver([[0.0, 1.0], [0.0, 1.0]], [10, 10], 0.5, [0.0, 0.0, 0.0])


def test_costs_that_do_not_fit_are_refused():
    for costs in ([[1, 2, 3]], [[1.5, 0.5]], [[1, -1]]):
        with pytest.raises(ValueError, match="whole numbers >= 0"):
            solve_exact([[0.0, 1.0]], [10], 5, costs=costs)


def test_official_with_nothing_to_keep_fails_like_the_original():
    with pytest.raises(OfficialIndexError, match="empty table at sparsity 1.0"):
        solve_official([[0.0, 1.0]], [10], 1.0)


def test_official_allows_the_rate_reached_although_float32_stores_it_lower():
    curves = np.tile(np.arange(11.0), (2, 1))
    assert float(np.float32(0.7)) < 0.7
    assert solve_official(curves, [20, 20], 1 - 28.5 / 40, [0.0, 0.7])[1] == 7
