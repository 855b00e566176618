"""Native kernels on planes: every kind of layer, batch and number of threads gives the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness import sparse
from harness.errors import ProtocolError
from harness.sparse.native import kernels as native_kernels
from harness.sparse.native import threads as native_threads
from harness.sparse.native.fields import MOST_VECTORS, interleaved
from harness.sparse.planes import choice as plane_choice
from harness.sparse.planes.layout import PlaneGrid, Planes
from harness.sparse.planes.steps import Operand, blocks
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference

pytest.importorskip("llvmlite")
PLANES = ["planes-4", "planes-8", "planes-8-sliced"]


def output(model: nn.Module, batch: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(batch)


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """One convolution of any shape, and the shape of its images."""
    groups = draw(st.sampled_from([1, 1, 2, 6]))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 5), (7, 7), (2, 2)]))
    stride = draw(st.sampled_from([1, 1, 2, 3, (1, 2)]))
    dilation = draw(st.sampled_from([1, 1, 2]))
    reach = [dilation * (k - 1) for k in kernel]
    padding = tuple(draw(st.integers(0, r)) for r in reach)
    height, width = (draw(st.integers(r + 1, r + 20)) for r in reach)
    filters = draw(st.sampled_from([6, 12]))
    layer = nn.Conv2d(
        6, filters, kernel, stride, padding, dilation, groups, bias=draw(st.booleans())
    )
    after = draw(st.sampled_from([nn.ReLU(), nn.ReLU6(), nn.Hardtanh(0.5, 2.0), nn.Identity()]))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    return pruned(nn.Sequential(layer, after), density, draw(st.integers(0, 9))), (6, height, width)


@settings(max_examples=25, deadline=None)
@given(layers(), st.sampled_from([1, 2, 3]), st.sampled_from(PLANES))
def test_any_convolution_on_planes_equals_the_dense_one(
    drawn: tuple[nn.Module, tuple[int, int, int]], tuned: int, form: str
) -> None:
    model, shape = drawn
    fast = sparse.compile(model, images(tuned, *shape), only=[form])
    batch = images(5, *shape)
    expected = output(model, batch)
    assert relative_difference(fast(batch), expected) < ORDER_OF_SUMS


class Bottleneck(nn.Module):
    """Stem with pooling, a strided block with a shortcut of its own, a plain block, a head."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.down = nn.Conv2d(width, 2 * width, 1, 2)
        self.left = nn.Sequential(
            nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 1)
        )
        self.plain = nn.Conv2d(2 * width, 2 * width, 3, 1, 1)
        self.head = nn.Linear(2 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.down(x) + self.left(x))
        x = torch.relu(self.plain(x) + x)
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))


@pytest.mark.parametrize("tuned", [1, 4])
def test_any_batch_equals_the_model_whatever_it_was_tuned_for(
    two_threads: None, tuned: int
) -> None:
    model = pruned(Bottleneck(), 0.3)
    fast = sparse.compile(model, images(tuned, 3, 45, 37), only=PLANES)
    assert {layer.form for layer in fast.plan.layers} & set(PLANES)
    for count in (1, 2, 3, 9):
        batch = images(count, 3, 45, 37)
        assert relative_difference(fast(batch), output(model, batch)) < ORDER_OF_SUMS


def test_threads_and_repeated_runs_change_no_bit(two_threads: None) -> None:
    model, batch = pruned(Bottleneck(), 0.3), images(5, 3, 90, 74)  # none of its maps is small
    only = ["planes-4"]
    both = sparse.compile(model, batch, only=only)
    together = both(batch)
    assert all(torch.equal(both(batch), together) for _ in range(5))
    body, torch_threads = together, torch.get_num_threads()
    assert torch_threads == 2
    torch.set_num_threads(1)
    alone = sparse.compile(model, batch, only=only)
    assert torch.equal(alone(batch), body)


def test_channels_last_and_sliced_batches_are_read_right() -> None:
    model, batch = pruned(Bottleneck(), 0.3), images(3, 3, 45, 37)
    fast = sparse.compile(model, batch, slower="keep")
    expected = fast(batch)
    assert torch.equal(fast(batch.to(memory_format=torch.channels_last)), expected)
    assert torch.equal(fast(batch.repeat_interleave(2, 0)[::2]), expected)


def test_without_llvmlite_the_tables_run_and_planes_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plane_choice, "kernels", lambda: None)
    model, batch = pruned(Bottleneck(), 0.3), images(1, 3, 32, 32)
    fast = sparse.compile(model, batch, slower="keep")
    assert relative_difference(fast(batch), output(model, batch)) < ORDER_OF_SUMS
    assert not {layer.form for layer in fast.plan.layers} & set(PLANES)
    with pytest.raises(ProtocolError, match="llvmlite is not installed.*reprune\\[sparse\\]"):
        sparse.compile(model, batch, only=PLANES)


def test_a_step_outside_its_memory_is_not_made() -> None:
    operand = Operand(64, 256, 16, before=16, after=512)
    operand.holds(-16, 512)
    with pytest.raises(AssertionError, match="would touch bytes -20 to 0"):
        operand.holds(-20, 0)
    with pytest.raises(AssertionError, match="would touch bytes 0 to 516"):
        operand.holds(0, 516)


class Sums(nn.Module):
    """Sums with what others read before, with a parameter, and with the network's own input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(6, 6, 3, padding=1) for _ in range(3))
        self.place = nn.Parameter(images(1, 6, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        read = torch.sigmoid(x)  # before anything copies the input to planes
        x = self.first(read) + x
        return torch.relu(self.second(torch.sigmoid(x)) + x) + self.third(x + self.place)


@pytest.mark.parametrize("count", [1, 4])
def test_sums_with_values_that_others_read_equal_the_model(two_threads: None, count: int) -> None:
    model, batch = pruned(Sums(), 0.5), images(count, 6, 8, 8)
    fast = sparse.compile(model, batch, only=["planes-8"])
    expected = output(model, batch)
    assert relative_difference(fast(batch), expected) < ORDER_OF_SUMS
    assert relative_difference(fast(batch.flip(0)), expected.flip(0)) < ORDER_OF_SUMS


@given(st.integers(1, 60), st.integers(1, MOST_VECTORS))
def test_blocks_cover_every_register_once_and_sum_in_one_order(vectors: int, cap: int) -> None:
    made = blocks(vectors, cap, 8)
    covered = [place for first, size in made for place in range(first // 8, first // 8 + size)]
    assert covered == list(range(vectors))
    assert all(1 <= size <= cap and size * interleaved(size) <= 8 for _, size in made)
    assert len({interleaved(size) for _, size in made}) == 1


def test_planes_are_zero_between_their_pixels() -> None:
    planes = Planes(PlaneGrid(3, 5, gap=2, lead=16), 4, 2)
    planes.write(torch.ones(2, 4, 3, 5))
    assert int(planes.memory.count_nonzero()) == 2 * 4 * 3 * 5
    assert int(planes.grid.pixels().sum()) == 3 * 5


def test_kernels_are_made_for_narrower_processors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = native_kernels.kernels()
    assert found is not None and found.lanes in (4, 8, 16)
    model, batch = pruned(Bottleneck(), 0.3), images(4, 3, 23, 37)
    expected = output(model, batch)
    for lanes in [lanes for lanes in (4, 8, 16) if lanes <= found.lanes]:
        narrow = native_kernels.kernels_of(lanes)
        monkeypatch.setattr(plane_choice, "kernels", lambda narrow=narrow: narrow)
        for form in PLANES:
            fast = sparse.compile(model, batch, only=[form])
            assert relative_difference(fast(batch), expected) < ORDER_OF_SUMS


def test_a_forked_process_gets_threads_of_its_own(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_threads, "_CREWS", [native_threads.NativeThreads()])
    model, batch = pruned(Bottleneck(), 0.3), images(3, 3, 45, 37)
    fast = sparse.compile(model, batch, only=["planes-4"])
    expected = fast(batch)
    before = native_threads._CREWS[0]
    native_threads._forget()  # what happens in the child
    assert torch.equal(fast(batch), expected)
    assert native_threads._CREWS[0] is not before and len(native_threads._CREWS[0].queues) == 1


@pytest.mark.skipif(native_threads._openmp() is None, reason="PyTorch has no such OpenMP here")
def test_the_threads_are_those_of_torch(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_threads, "_CREWS", [native_threads.NativeThreads()])
    model, batch = pruned(Bottleneck(), 0.3), images(3, 3, 45, 37)
    fast = sparse.compile(model, batch, only=["planes-4"])
    shared = fast(batch)
    crew = native_threads._CREWS[0]
    assert not crew.queues
    monkeypatch.setattr(native_threads, "_openmp", lambda: None)
    assert torch.equal(fast(batch), shared) and len(crew.queues) == 1


@pytest.mark.skipif(native_threads._openmp() is None, reason="PyTorch has no such OpenMP here")
def test_where_openmp_has_too_few_threads_others_do_the_work(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = pruned(Bottleneck(), 0.3), images(3, 3, 45, 37)
    fast = sparse.compile(model, batch, only=["planes-4"])
    expected, found = fast(batch), native_threads._openmp()
    assert found is not None
    monkeypatch.setattr(native_threads, "_CREWS", [native_threads.NativeThreads()])
    few = replace(found, parallel=lambda team, data, _, flags: found.parallel(team, data, 1, flags))
    monkeypatch.setattr(native_threads, "_openmp", lambda: few)
    assert torch.equal(fast(batch), expected) and len(native_threads._CREWS[0].queues) == 1
