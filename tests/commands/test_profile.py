"""`bench profile`: counts per layer, whole at any width."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.commands.profile import _layers
from harness.results.schema import LayerCost
from tests.commands.conftest import Bench, document
from tests.support.results import a_cost


def test_json_has_every_layer_and_total(bench: Bench) -> None:
    done = bench("profile", "dense-convnet-tiny-digits", "--dense", "--json")
    found = document(done)
    assert found["id"] == "dense-convnet-tiny-digits"
    assert (found["params"], found["total"], found["nnz"]) == (14_458, 14_288, 14_288)
    # 3x3 convolutions on 8x8, 8x8 and 4x4 positions, and the classifier.
    assert {row["name"]: row["macs_dense"] for row in found["layers"]} == {
        "conv1": 144 * 64,
        "conv2": 4_608 * 64,
        "conv3": 9_216 * 16,
        "fc": 320,
    }
    assert found["macs_dense"] == 9_216 + 294_912 + 147_456 + 320


def test_the_summary_names_its_units(bench: Bench) -> None:
    done = bench("profile", "dense-convnet-tiny-digits", "--dense")
    assert "14,458 (norms and biases included)" in done.stdout
    assert "14,288 of 14,288 non-zero: 0.0000 % sparse (all conv+linear weights)" in done.stdout
    assert "451,904 of 451,904 dense (batch 1)" in done.stdout


@pytest.mark.parametrize(
    ("width", "dropped"),
    [(120, ()), (80, ("shape",)), (60, ("shape", "MACs")), (48, ("shape", "MACs", "weights"))],
)
def test_narrow_terminals_drop_columns_and_never_cut_numbers(
    width: int, dropped: tuple[str, ...]
) -> None:
    row = LayerCost(
        name="layer4.2.conv3",
        kind="conv",
        shape=(2048, 512, 1, 1),
        total=1_048_576,
        nnz=104_858,
        macs_dense=51_380_224,
        macs_effective=5_138_042,
    )
    table = _layers(replace(a_cost(), layers=(row,)), width)
    heads = [str(column.header) for column in table.columns]
    every = ["layer", "shape", "weights", "non-zero", "density %", "MACs", "effective"]
    assert heads == [head for head in every if head not in dropped]


def test_an_unknown_id_exits_with_two(bench: Bench) -> None:
    assert bench("profile", "dense-convnet-tiny-digitz").exit_code == 2
