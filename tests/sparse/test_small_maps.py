"""Several images beside each other on planes of small maps, and sums in the residual's memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import sparse
from harness.sparse.operation_graph import Convolution
from harness.sparse.planes.grids import plane_grids
from harness.sparse.planes.layout import PlaneGrid, Planes, rounded
from harness.sparse.planes.program import PlaneProgram, Segment
from harness.sparse.tracing import trace
from tests.sparse.chains import CHANNELS, Residual, blocks, fits, program
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference

pytest.importorskip("llvmlite")


class Gate(nn.Module):
    """x * sigmoid(layer(mean of x)), which is no native step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.layer(x.mean((2, 3), keepdim=True)))


class TwoReaders(nn.Module):
    """x is read by native steps before and after an operation of PyTorch, whose map has a pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.third, self.mean = nn.Conv2d(CHANNELS, CHANNELS, 1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.mean(self.first(x)))
        return self.third(gate) + self.mean(self.second(x))


class Block(nn.Module):
    """relu(second(relu(first(x))) + x): the sum can lie where x was."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + x)


def tailed(
    model: nn.Module, example: Tensor, patch: pytest.MonkeyPatch, dense: set[int]
) -> PlaneProgram:
    """All but the first operation in the tail, several images beside each other if there are."""
    patch.setattr("harness.sparse.planes.small_maps.SMALL", 1 << 30)
    patch.setattr("harness.sparse.planes.small_maps.ENOUGH", 1.0)
    return program(model, example, "planes-8", 1, dense)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        blocks() | st.sampled_from([Gate(), TwoReaders(), Block(CHANNELS)]), min_size=1, max_size=4
    ),
    st.tuples(st.integers(3, 20), st.integers(3, 20)),
    st.integers(2, 9),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.sets(st.integers(0, 6)),
)
def test_any_chain_of_layers_on_small_maps_equals_the_model(
    layers: list[nn.Module],
    size: tuple[int, int],
    tuned: int,
    threads: int,
    pooled: bool,
    dense: set[int],
) -> None:
    end: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if pooled else []
    start = nn.Conv2d(CHANNELS, CHANNELS, 1)
    model, batch = pruned(nn.Sequential(start, *layers, *end), 0.5), images(9, CHANNELS, *size)
    assume(fits(model, batch))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        fast, expected = tailed(model, batch[:tuned], patch, dense), model(batch)
        for count in (9, 1, 9, tuned):  # also on what others left in memory
            assert relative_difference(fast(batch[:count]), expected[:count]) < ORDER_OF_SUMS
        if not dense and not any(isinstance(one, Gate | TwoReaders) for one in layers):
            order = torch.randperm(9, generator=torch.Generator().manual_seed(tuned))
            assert torch.equal(fast(batch[order]), fast(batch)[order])
    torch.set_num_threads(before)


def test_two_images_of_7x7_pixels_fill_seven_registers() -> None:
    grid = PlaneGrid(7, 7, gap=1, lead=32, images=2)
    assert (grid.positions, int(grid.pixels().sum())) == (7 * 16, 2 * 49)
    planes, values = Planes(grid, 3, 2), images(3, 3, 7, 7)  # one place stays empty
    planes.write(values)
    assert torch.equal(planes.read(3, 3), values)
    assert int(planes.memory.count_nonzero()) == int(values.count_nonzero())
    plane = planes.memory[grid.lead : grid.lead + grid.positions].view(7, 16)
    assert torch.equal(plane[:, :7], values[0, 0]) and torch.equal(plane[:, 8:15], values[1, 0])
    assert not plane[:, 7].any() and not plane[:, 15].any()


def ends_small() -> nn.Module:
    """16x16 maps, then 8x8 ones: 8 of each line's 9 floats are pixels, of 5 registers 4."""
    return pruned(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1), Block(8), Block(8)),
        0.5,
    )


@pytest.mark.parametrize(("batch", "beside"), [(1, 1), (2, 1), (4, 2), (16, 2), (5, 2), (6, 3)])
def test_images_are_beside_each_other_where_every_thread_has_as_many(
    two_threads: None, batch: int, beside: int
) -> None:
    made = program(ends_small(), images(batch, 3, 16, 16), "planes-8", 1)
    assert made.tail.images == beside  # 72 floats an image: 80 alone, 144 for two, 224 for three
    (segment,) = [step for step in made.steps if isinstance(step, Segment)]
    assert (segment.before < len(segment.steps)) == (beside > 1)


def test_a_sum_lies_where_its_residual_was_if_only_it_reads_that(two_threads: None) -> None:
    with torch.inference_mode():
        made = program(ends_small(), images(1, 3, 16, 16), "planes-8", 1)
        sums = [op for op in made.network.operations if getattr(op, "residual", None)]
        assert len(sums) == 2
        first, second = (made.memory.planes[op.name] for op in sums)
        assert first is not second  # the second one is the output, which others read
        assert first is made.memory.planes[sums[0].residual]
        layers = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), Residual(3, 1), Residual(3, 1))
        twice = program(pruned(layers, 0.5), images(1, CHANNELS, 9, 9), "planes-8", 1)
        layer = twice.network.operations[1]  # a 3x3 one, which reads what is added line after line
        assert isinstance(layer, Convolution) and layer.residual == layer.source
        assert twice.memory.planes[layer.source] is not twice.memory.planes[layer.name]


def test_a_compiled_network_with_small_maps_is_the_same_after_loading(
    two_threads: None, tmp_path: Path
) -> None:
    model, batch = ends_small(), images(8, 3, 16, 16)
    fast = sparse.compile(model, batch, only=["planes-8"])
    fast.save(tmp_path / "net.sparse")
    assert torch.equal(sparse.load(tmp_path / "net.sparse")(batch), fast(batch))
    with torch.inference_mode():
        assert relative_difference(fast(batch[:3]), model(batch[:3])) < ORDER_OF_SUMS


@pytest.mark.parametrize(
    ("side", "beside", "gap"),
    [(14, 1, 2), (14, 2, 1), (7, 1, 1), (7, 2, 1), (28, 1, 1), (16, 1, 1)],
)
def test_lines_begin_with_registers_where_planes_get_no_larger(
    side: int, beside: int, gap: int
) -> None:
    layers = nn.Sequential(*[nn.Conv2d(4, 4, 3, padding=1) for _ in range(2)])
    grid = plane_grids(trace(layers, images(1, 4, side, side)), beside)[side, side]
    assert (grid.gap, grid.images) == (gap, beside)
    assert grid.positions == rounded(side * beside * (side + 1))
    assert grid.lead >= grid.pitch + 1


@pytest.mark.parametrize("threads", [1, 2])
def test_what_two_stretches_read_is_laid_beside_each_other_for_both(threads: int) -> None:
    start = [nn.Conv2d(3, CHANNELS, 3, padding=1), nn.AvgPool2d(2)]
    model, batch = pruned(nn.Sequential(*start, TwoReaders()), 0.5), images(8, 3, 16, 16)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with torch.inference_mode():
        fast = program(model, batch, "planes-8", 1)
        assert 1 < fast.tail.images < 8 // threads  # several turns, so copies are overwritten
        assert sum(isinstance(step, Segment) for step in fast.steps) == 3
        assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS
    torch.set_num_threads(before)


def test_a_tail_begins_after_the_last_map_that_pytorch_makes(two_threads: None) -> None:
    start, (first, second) = nn.Conv2d(3, CHANNELS, 3, padding=1), (Block(CHANNELS) for _ in "ab")
    layers = [start, Gate(), first, Gate(), second]
    made = program(nn.Sequential(*layers), images(8, 3, 8, 8), "planes-8", 1)
    assert made.tail.images > 1
    assert {name.split("_")[1] for name in made.tail.made} == {"4"}
