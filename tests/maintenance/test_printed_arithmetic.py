"""Printed figures against arithmetic: rules on made-up rows, and the rows of the registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.maintenance import derive
from harness.maintenance.printed_arithmetic import Shape, impossible_figures
from harness.registry import Published, load
from harness.reports import RELEASED_CODE
from methods.rate_distortion.solvers import OfficialIndexError, solve_official

REGISTRY = load()
NOTHING = Shape(1_000_000, {"fc": 1_000_000}, {}, ())


def refuted(texts: dict[str, str], shape: Shape = NOTHING, method: str = "magnitude") -> set[str]:
    published = {name: Published(text, "table") for name, text in texts.items()}
    row = replace(
        REGISTRY.get("dense-resnet20-cifar10"), baseline=None, method=method, published=published
    )
    return {found.figure for found in impossible_figures(row, REGISTRY, shape)}


@pytest.mark.parametrize(
    ("texts", "wrong"),
    [
        ({"top1_pct": "90.0", "top3_pct": "95.0", "top5_pct": "97.0"}, set()),
        ({"top3_pct": "97.44", "top5_pct": "97.02"}, {"top5_pct"}),
        ({"top1_pct": "97.45", "top3_pct": "97.44"}, set()),  # both may be 97.445
        ({"kept_pct": "50.00", "params_millions": "0.5"}, set()),
        ({"kept_pct": "50.00", "params_millions": "0.7"}, {"params_millions"}),
        ({"kept_pct": "56.00", "params_millions": "0.5"}, set()),  # 0.56 cut off after a digit
        ({"weight_bits.a": "4.3", "weight_bits.b": "4.4", "weight_bits": "4.4"}, set()),
        ({"weight_bits.a": "4.3", "weight_bits.b": "4.4", "weight_bits": "5.1"}, {"weight_bits"}),
        ({"huffman_weight_bits.a": "5.2", "weight_bits.a": "5"}, {"huffman_weight_bits.a"}),
        ({"huffman_weight_bits.a": "4.9", "weight_bits.a": "5"}, set()),
        ({"huffman_index_bits.a": "5.2", "index_bits": "5"}, {"huffman_index_bits.a"}),
    ],
)
def test_what_cannot_be_right_as_printed(texts: dict[str, str], wrong: set[str]) -> None:
    assert refuted(texts) == wrong


@given(
    st.lists(st.integers(2, 60), min_size=2, max_size=5),
    st.floats(0.02, 0.98).map(lambda share: round(share, 3)),
)
def test_the_solver_is_refuted_exactly_where_it_ends_with_an_index_error(
    sizes: list[int], target: float
) -> None:
    total, largest = sum(sizes), max(sizes)
    if abs((1 - target) * total - (largest - 1)) < 1e-6:
        return  # at the limit itself rounding of the target decides
    shape = Shape(total, {str(i): size for i, size in enumerate(sizes)}, {}, ())
    curves = np.linspace(0, 1, 11)[None].repeat(len(sizes), 0)
    try:
        solve_official(curves, sizes, target)
    except OfficialIndexError:
        ends = True
    else:
        ends = False
    text = f"{100 * target:.1f}"
    assert bool(refuted({"sparsity_pct": text}, shape, "rd")) == ends


def test_depthwise_layers_are_a_share_of_all_macs() -> None:
    shape = Shape(10, {"a": 5, "b": 5}, {"a": 90, "b": 10}, ("b",))
    row = replace(
        REGISTRY.get("ftwt-mobilenetv1-cifar10-1.00-joint"),
        published={"flops_reduction_pct": Published("78", "table")},
    )
    [found] = impossible_figures(row, REGISTRY, shape)
    assert found.kind == RELEASED_CODE
    assert found.comparison.measured == 68.0
    assert "10 MACs, up to 10.00 points" in found.comparison.reason


@pytest.mark.parametrize(
    ("entry", "figure", "told"),
    [
        ("str-resnet50-81", "params_millions", "25,502,912 weights leaves 4.78 M, printed 4.47 M"),
        ("rd-resnet32-cifar10-95.5", "sparsity_pct", "beyond 92.06 % sparsity"),
        ("ftwt-mobilenetv1-cifar10-1.00-joint", "flops_reduction_pct", "1,419,264 MACs"),
        ("ipruning-squeezenet1.1-kmnist-pruned", "top5_pct", "top5_pct as 97.36"),
        ("deep-compression-lenet300-mnist", "huffman_weight_bits", "from 4.3 to 4.4"),
        ("deep-compression-lenet5caffe-mnist", "huffman_weight_bits", "from 4.5 to 7.2"),
        ("deep-compression-lenet5caffe-mnist", "huffman_weight_bits.fc2", "5.2 bits after"),
    ],
)
def test_rows_of_the_registry_are_refuted_by_hand_counted_facts(
    entry: str, figure: str, told: str
) -> None:
    found = derive(REGISTRY, [REGISTRY.get(entry)])
    reasons = [
        item.comparison.reason
        for item in found
        if item.figure == figure and item.comparison.status == "published figure inconsistent"
    ]
    assert any(told in reason for reason in reasons)


def test_a_budget_file_gives_sparsity_parameters_and_macs(tmp_path: Path) -> None:
    """The transcribed budgets of the fixtures, as the STR authors' file spells them."""
    fixture = Path(__file__).parent.parent / "fixtures/str/budgets_resnet50.csv"
    folder = tmp_path / "str_budgets"
    folder.mkdir()
    (folder / "STR_Budgets_ResNet50.csv").write_bytes(fixture.read_bytes())
    found = derive(REGISTRY, [REGISTRY.get("str-resnet50-90")], tmp_path)
    by_file = {x.figure: x.comparison for x in found if x.kind == "published budget file"}
    assert {name: c.status for name, c in by_file.items()} == {
        "sparsity_pct": "exact",
        "params_millions": "exact",
        "flops_millions": "exact",
    }
    assert by_file["flops_millions"].measured == pytest.approx(342.6, abs=0.05)
