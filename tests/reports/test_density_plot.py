"""The density plot shows what the layers hold; read back from the drawing, not from pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from harness.reports.plots.density import density_plot
from tests.support.results import made

PNG = b"\x89PNG\r\n\x1a\n"


def test_bars_are_the_densities_and_collapsed_layers_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(plt, "close", drawn.append)
    result = made()
    first, *others = result.cost.layers
    empty = replace(result.cost, layers=(replace(first, nnz=0), *others))
    result = replace(result, cost=empty)
    target = density_plot(result, tmp_path / "deep" / "picture.png")
    assert target.read_bytes().startswith(PNG)
    [axes] = drawn[0].axes
    heights = [bar.get_height() for bar in axes.patches][-len(result.cost.layers) - 1 :]
    expected = [100 * layer.nnz / layer.total for layer in result.cost.layers]
    assert heights[: len(expected)] == pytest.approx(expected)
    assert f"collapsed: {first.name}" in axes.get_title()


def test_the_same_result_gives_the_same_file(tmp_path: Path) -> None:
    one = density_plot(made(), tmp_path / "one.png").read_bytes()
    assert density_plot(made(), tmp_path / "two.png").read_bytes() == one
