"""Layers in bands of rows, and products in slices of channels, give what whole ones do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from harness import sparse
from harness.sparse.operation_graph import Convolution
from harness.sparse.planes.bands import RowReach, bands_of
from harness.sparse.planes.layout import PlaneGrid
from harness.sparse.planes.slices import BlockForm
from harness.sparse.tracing import trace
from tests.sparse.chains import CHANNELS, blocks, fits, program
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference

pytest.importorskip("llvmlite")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(blocks(), min_size=1, max_size=4),
    st.tuples(st.integers(24, 60), st.integers(24, 40)),
    st.sampled_from([2, 3, 7, 30]),
    st.sampled_from([1, 2]),
)
def test_any_chain_of_layers_in_bands_equals_the_model(
    layers: list[nn.Module], size: tuple[int, int], bands: int, threads: int
) -> None:
    model = pruned(nn.Sequential(*layers), 0.5)
    batch = images(3, CHANNELS, *size)
    assume(fits(model, batch))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.sparse.planes.bands.CACHE", 0)
        in_bands = program(model, batch, "planes-8", bands)
        expected = model(batch)
        for _ in range(2):  # the second time on what the first left in memory
            assert relative_difference(in_bands(batch), expected) < ORDER_OF_SUMS
            assert relative_difference(in_bands(batch[:1]), expected[:1]) < ORDER_OF_SUMS
    torch.set_num_threads(before)


@settings(max_examples=25, deadline=None)
@given(st.lists(blocks(), min_size=1, max_size=3), st.sampled_from(["planes-4", "planes-8"]))
def test_slices_of_channels_equal_the_model(layers: list[nn.Module], form: str) -> None:
    model, batch = pruned(nn.Sequential(*layers), 0.8), images(2, CHANNELS, 40, 33)
    assume(fits(model, batch))
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.sparse.planes.slices.CACHE", 1024)
        patch.setattr("harness.sparse.planes.slices.LEAST_ENTRIES", 1)
        patch.setattr("harness.sparse.planes.program.PLANES", (f"{form}-sliced",))
        sliced = program(model, batch, f"{form}-sliced", 1)
        assert relative_difference(sliced(batch), model(batch)) < ORDER_OF_SUMS


def test_a_layer_has_slices_where_its_pixels_do_not_fit_and_its_weights_are_many() -> None:
    form, grid = BlockForm.of("planes-8-sliced"), PlaneGrid(14, 14, 1, 16)

    def slices(channels: int, density: float) -> int:
        layer = nn.Conv2d(channels, 32, 3, padding=1)
        weight = pruned(layer, density, empty_filters=0.0).weight.detach()
        conv = Convolution("a", "a", "x", weight, torch.zeros(32), padding=(1, 1))
        return form.slices(conv, grid, 16)

    assert slices(16, 0.5) == 1  # 16 channels of 9 lines of 64 bytes
    assert slices(256, 0.05) > 3
    assert slices(256, 0.005) == 1  # about a dozen entries per filter
    assert BlockForm.of("planes-4") == BlockForm(4, sliced=False)


def test_rows_that_can_be_made_are_those_whose_inputs_are_there() -> None:
    reach = RowReach(stride=2, above=1, below=1)  # 3x3 of stride 2, padding 1
    for ready in range(1, 20):
        rows = reach.allows(ready, rows=20, goal=10)
        assert all(2 * row + 1 < ready for row in range(rows))
        assert rows == 10 or 2 * rows + 1 >= ready
    assert reach.allows(20, rows=20, goal=10) == 10


def test_bands_are_kept_with_the_plan_and_for_large_maps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = nn.Sequential(nn.Conv2d(3, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 4, 3, padding=1))
    batch = images(1, 3, 128, 96)
    assert bands_of(trace(wide, batch)) > 1 and bands_of(trace(wide, images(1, 3, 32, 32))) == 1
    monkeypatch.setattr(
        "harness.sparse.planes.choice.BANDS_GAIN", float("inf")
    )  # one band is never fast enough
    fast = sparse.compile(pruned(wide, 0.3), batch, only=["planes-8"])
    assert fast.plan.bands == bands_of(trace(wide, batch))
    fast.save(tmp_path / "net.sparse")
    loaded = sparse.load(tmp_path / "net.sparse")
    assert loaded.plan.bands == fast.plan.bands
    assert torch.equal(loaded(batch), fast(batch))
