"""Printed figures that need no weights: what they are was counted by hand, or is printed twice."""

from __future__ import annotations

import pytest

from harness import registry
from harness.evaluation import derived_figures
from harness.registry import Published
from harness.results import Comparison, Means, figure_statuses, of_printed
from harness.results.figures_without_weights import stated_counts
from tests.support.results import LAYERS


def derived(*ids: str) -> dict[str, dict[str, Comparison]]:
    known = registry.load()
    return derived_figures(known, [known.get(id) for id in ids])


def printed(**texts: str) -> dict[str, Published]:
    return {name: Published(text=text, source="table") for name, text in texts.items()}


def test_layers_of_a_lenet_by_hand() -> None:
    found = derived("han-magnitude-lenet300-mnist-12x")["han-magnitude-lenet300-mnist-12x"]
    # 784 x 300, 300 x 100 and 100 x 10 weights, each multiplied and added once per image.
    for figure, value in {
        "weights_thousands.fc1": 235.2,
        "weights_thousands.fc2": 30.0,
        "weights_thousands": 266.2,
        "flops_thousands.fc1": 470.4,
        "flops_thousands": 532.4,
    }.items():
        assert found[figure].measured == pytest.approx(value, abs=1e-9)
        assert found[figure].status == "exact"
    # 8 % of 235,200, 9 % of 30,000 and 26 % of 1,000 weights are 21,776 of 266,200.
    assert found["density_pct"].measured == pytest.approx(100 * 21_776 / 266_200)
    assert "density_pct.fc1" not in found  # the count was made from it
    assert not {name for name in found if name.startswith(("top1", "activations"))}


def test_dense_networks_and_printed_sparsities() -> None:
    found = derived("dense-resnet50-str", "str-resnet50-90", "str-resnet50-81")
    dense = found["dense-resnet50-str"]
    assert dense["params_millions"].measured == 25.557032
    assert dense["flops_millions"].measured == 4089.184256
    assert {c.status for c in dense.values()} == {"exact"}
    # (1 - 0.9023) x 25,502,912 weights = 2.4916 million; 81.27 % leaves 4.78, not 4.47.
    follows, refuted = found["str-resnet50-90"], found["str-resnet50-81"]
    assert follows["params_millions"].status == "exact"
    assert refuted["params_millions"].status == "published figure inconsistent"
    assert set(follows) == set(refuted) == {"params_millions"}


def test_two_of_four_kernels_of_the_small_network() -> None:
    found = derived("acdc-convnet-tiny-digits-2-4")["acdc-convnet-tiny-digits-2-4"]
    assert (found["sparsity_pct"].measured, found["sparsity_pct"].status) == (50.0, "exact")


def test_a_row_of_accuracies_alone_needs_no_network() -> None:
    assert derived("dense-resnet20-cifar10") == {}


@pytest.mark.parametrize(
    ("texts", "impossible"),
    [
        ({"top1_pct": "92.40", "top3_pct": "98.95", "top5_pct": "99.57"}, set()),
        ({"top1_pct": "92.40", "top3_pct": "92.39"}, {"top3_pct"}),
        ({"top1_pct": "92.4", "top3_pct": "92.39"}, set()),  # 92.4 may be 92.39, rounded
        ({"top3_pct": "99.60", "top5_pct": "99.57"}, {"top5_pct"}),
        ({"top1_pct": "99.0", "top5_pct": "90.0"}, {"top5_pct"}),
    ],
)
def test_more_guesses_are_never_right_less_often(
    texts: dict[str, str], impossible: set[str]
) -> None:
    found = of_printed(printed(**texts))
    assert set(found) == impossible
    assert {c.status for c in found.values()} <= {"published figure inconsistent"}


def test_a_doubtful_cell_refutes_nothing() -> None:
    doubtful = {"top3_pct": Published("92.39", "table", suspect=True, note="a typo")}
    assert of_printed({**printed(top1_pct="92.40"), **doubtful}) == {}


def test_counts_that_the_settings_state() -> None:
    # LAYERS: conv1 of 432 weights, fc of 160.
    assert stated_counts({"allocation": "2:4"}, LAYERS) == {"conv1": 216, "fc": 80}
    uniform = {"allocation": "uniform", "sparsity": 0.75, "exclude": ["fc"]}
    assert stated_counts(uniform, LAYERS) == {"conv1": 108, "fc": 160}
    shares = {"densities": {"conv1": 0.25, "fc": 0.5}}
    assert stated_counts(shares, LAYERS) == {"conv1": 108, "fc": 80}
    assert stated_counts({"densities": {"conv1": 0.25}}, LAYERS) is None  # what of fc?
    assert stated_counts({"allocation": "global", "sparsity": 0.9}, LAYERS) is None


def test_what_is_derived_settles_its_figure_and_no_other() -> None:
    row = registry.get("str-resnet50-90")
    found = derived(row.id)[row.id]
    statuses = {s.figure: s for s in figure_statuses(row, [], Means("none", False), found)}
    assert (statuses["params_millions"].outcome, statuses["params_millions"].basis) == (
        "reproduced",
        "derived",
    )
    assert statuses["flops_millions"].outcome == "waits"


def test_what_a_smaller_network_lacks_of_its_baseline() -> None:
    found = derived("mofhei-lenet-poly-mnist-95", "mofhei-lenet-poly-cifar10-95")
    # Filters 1, 1, 7 and 5 units: (25 + 1) + (25 + 1) + (175 + 7) + (35 + 5) + (50 + 10)
    # weights and biases, and three coefficients behind each convolution, of a LeNet-5's 61,706.
    own = 26 + 26 + 182 + 40 + 60 + 9
    (figure,) = found["mofhei-lenet-poly-mnist-95"].values()
    assert figure.measured == pytest.approx(100 * (1 - own / 61_706))
    assert (figure.published, figure.status) == ("99.4441", "exact")
    assert "mofhei-lenet-poly-cifar10-95" not in found  # a doubtful cell, and no baseline's file
