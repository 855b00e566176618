"""AC/DC's FLOPs of dense and sparse networks: the totals that the paper's own counter gives."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from torch import nn

from harness.models import build
from harness.profile import dense_macs
from harness.profile.conventions import acdc_flops
from harness.results import LayerCost
from tests.models.support import fixture_json

ROWS: list[dict[str, Any]] = fixture_json("code_flops.json")
NETWORKS = {  # the counter's name -> ours, classes, pixels
    "resnet50": ("resnet50", 1000, 224),
    "mobilenet": ("mobilenetv1", 1000, 224),
    "wideresnet": ("wrn28_10", 100, 32),
    "resnet20": ("resnet20_projection", 10, 32),
}


@cache
def network(arch: str) -> nn.Module:
    name, classes, _ = NETWORKS[arch]
    return build(name, num_classes=classes).eval()


def layers_of(row: dict[str, Any]) -> tuple[LayerCost, ...]:
    """Every layer with the fixture's non-zero weights; layers stand in the same order there."""
    side = NETWORKS[row["arch"]][2]
    dense = dense_macs(network(row["arch"]), (3, side, side)).per_layer
    weights = {n: m for n, m in network(row["arch"]).named_modules() if n in dense}
    assert len(row["nnz"]) == len(weights)
    found = []
    for (name, module), nnz in zip(weights.items(), row["nnz"].values(), strict=True):
        total = module.weight.numel()
        assert nnz <= total and dense[name] % total == 0
        found.append(
            LayerCost(
                name=name,
                kind="conv" if isinstance(module, nn.Conv2d) else "linear",
                shape=tuple(module.weight.shape),
                total=total,
                nnz=nnz,
                macs_dense=dense[name],
                macs_effective=dense[name] // total * nnz,
            )
        )
    return tuple(found)


def biases(arch: str, layer: LayerCost) -> int:
    """Additions of a bias: one per output of the layer, if it has one."""
    if network(arch).get_submodule(layer.name).bias is None:
        return 0
    return layer.macs_dense // (layer.total // layer.shape[0])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['arch']}-{row['case']}")
def test_totals_are_those_of_the_papers_counter(row: dict[str, Any]) -> None:
    side, layers = NETWORKS[row["arch"]][2], layers_of(row)
    flops = acdc_flops(network(row["arch"]), layers, (3, side, side))
    exact = [2 * x.macs_effective + biases(row["arch"], x) for x in layers]
    # The counter holds each layer as a float32 number: so rounded, ours is the same.
    assert [float(np.float32(value)) for value in exact] == list(row["per_layer"].values())
    assert flops == sum(exact) + row["relu"] + row["pool"] + row["bn"]
    assert flops == pytest.approx(row["total_code_flops"], rel=1e-6)


def test_half_of_the_rows_are_sparse() -> None:
    assert {row["case"] for row in ROWS} >= {"dense", "random", "uniform_density_0.1"}
