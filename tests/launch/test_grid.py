"""The expansion of a grid is the cartesian product, in order, each point once."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SettingsError
from harness.launch import LEVELS, Grid, GridAxis, level_axes

NAMES = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True).map(tuple)
KEYS = ("settings.sparsity", "settings.begin", "optimizer.lr")


@st.composite
def axes(draw):
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=3))
    values = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
    return tuple(GridAxis(key, tuple(draw(values))) for key in keys)


@given(NAMES, NAMES, NAMES, axes())
def test_points_are_the_product_of_data_sets_models_methods_and_values(
    methods, models, datasets, axes
):
    grid = Grid(methods, models, datasets, axes)
    found = [
        (p.dataset, p.model, p.method, *(p.changes[axis.key] for axis in axes))
        for p in grid.points()
    ]
    expected = list(product(datasets, models, methods, *(axis.values for axis in axes)))
    assert found == expected


@given(axes())
def test_labels_tell_points_of_one_method_apart(axes):
    labels = [point.label for point in Grid(("m",), ("n",), ("d",), axes).points()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("text", "key", "values", "method"),
    [
        ("settings.sparsity=0.5,0.9", "settings.sparsity", (0.5, 0.9), None),
        ("epochs=3", "epochs", (3,), None),
        ("str:settings.s_init=-8,-6.5", "settings.s_init", (-8, -6.5), "str"),
        ("settings.compress=[1, 2],[3]", "settings.compress", ([1, 2], [3]), None),
        ("han-magnitude:settings.a=true,null", "settings.a", (True, None), "han-magnitude"),
    ],
)
def test_an_axis_is_read_value_by_value(text, key, values, method):
    axis = GridAxis.parse(text)
    assert (axis.key, axis.values, axis.method) == (key, values, method)


@pytest.mark.parametrize("text", ["epochs", "=3", "epochs=1,1"])
def test_what_is_no_axis_is_refused(text):
    with pytest.raises(SettingsError, match="--set"):
        GridAxis.parse(text)


def test_a_method_with_settings_of_its_own_takes_no_level_from_the_others():
    own = GridAxis("settings.s_init", (-8, -6), "str")
    level = GridAxis("settings.sparsity", (0.5, 0.9))
    points = Grid(("gmp", "str"), ("n",), ("d",), (level, own)).points()
    assert [(p.method, dict(p.changes)) for p in points] == [
        ("gmp", {"settings.sparsity": 0.5}),
        ("gmp", {"settings.sparsity": 0.9}),
        ("str", {"settings.s_init": -8}),
        ("str", {"settings.s_init": -6}),
    ]


def test_one_method_can_have_other_values_of_a_shared_axis():
    shared = GridAxis("epochs", (2, 4))
    own = GridAxis("epochs", (8,), "acdc")
    points = Grid(("gmp", "acdc"), ("n",), ("d",), (shared, own)).points()
    assert [p.changes["epochs"] for p in points] == [2, 4, 8]


def test_standard_levels_are_three_or_more_and_increase():
    for values in LEVELS.values():
        assert len(values) >= 3
        assert list(values) == sorted(set(values)) and 0 < values[0] and values[-1] < 1


def test_levels_stand_in_front_and_are_said_once():
    lr = GridAxis("optimizer.lr", (0.1,))
    assert level_axes("paper", [lr]) == (GridAxis("settings.sparsity", LEVELS["paper"]), lr)
    assert level_axes(None, [lr]) == (lr,)
    with pytest.raises(SettingsError, match="both say the levels"):
        level_axes("paper", [GridAxis("settings.sparsity", (0.5,))])
    with pytest.raises(SettingsError, match="known: paper"):
        level_axes("all", [])
