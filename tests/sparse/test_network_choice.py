"""The network that is handed out is the fastest of those measured, and says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from harness import sparse
from harness.errors import ProtocolError
from harness.sparse import network_choice, network_timing
from harness.sparse.compile_plan import NetworkTimes
from tests.sparse.pruned import ORDER_OF_SUMS, images, pruned, relative_difference

BATCH = (2, 3, 8, 8)


def given_times(monkeypatch: pytest.MonkeyPatch, **ms: float) -> list[Mapping[str, object]]:
    """Medians that are taken for measured; what was to be measured is noted."""
    asked: list[Mapping[str, object]] = []

    def times(ways: Mapping[str, object], batch: Tensor) -> dict[str, NetworkTimes]:
        asked.append(ways)
        return {way: NetworkTimes(ms[way], ms[way], ms[way], 9) for way in ways}

    monkeypatch.setattr(network_choice, "times_in_turns", times)
    return asked


@pytest.fixture
def model() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    return pruned(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 5)), 0.5, empty_filters=0)


@pytest.mark.parametrize("way", ["sparse", "eager", "onnxruntime"])
def test_the_fastest_way_is_handed_out(
    way: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    ms = {"sparse": 3.0, "eager": 2.5, "onnxruntime": 2.75} | {way: 1.0}
    given_times(monkeypatch, **ms)
    fast = sparse.compile(model, images(*BATCH))
    assert (fast.plan.network.way, fast.plan.network.batch) == (way, 2)
    assert str(fast).startswith(f"CompiledNetwork(runs {way}: 1.00 ms (")
    assert [layer.name for layer in fast.plan.layers] == ["0", "5"]  # what was measured stays
    for count in (1, 2, 3):
        batch = images(count, *BATCH[1:], seed=count)
        with torch.inference_mode():
            assert relative_difference(fast(batch), model(batch)) < ORDER_OF_SUMS
    with pytest.raises(ProtocolError, match="do not fit"):
        fast(images(1, 3, 9, 9))


def test_a_slower_one_is_refused_with_both_times(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_times(monkeypatch, sparse=3.0, eager=1.25, onnxruntime=2.0)
    with pytest.raises(ProtocolError, match=r"sparse 3\.00 ms, eager 1\.25 ms, batch 2, \d+ thr"):
        sparse.compile(model, images(*BATCH), slower="refuse")
    given_times(monkeypatch, sparse=1.0, eager=1.25, onnxruntime=2.0)
    assert sparse.compile(model, images(*BATCH), slower="refuse").plan.network.way == "sparse"


def test_whoever_names_the_forms_gets_them(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = given_times(monkeypatch, sparse=3.0, eager=1.25, onnxruntime=2.0)
    assert sparse.compile(model, images(*BATCH), only=["dense"]).plan.network.way == "sparse"
    assert sparse.compile(model, images(*BATCH), slower="keep").plan.network.ms == {}
    assert not asked
    chosen = sparse.compile(model, images(*BATCH), only=["dense"], slower="replace")
    assert chosen.plan.network.way == "eager"


def test_a_runtime_that_does_not_take_the_network_is_left_out(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(network: bytes) -> None:
        raise OSError("no kernel for Frobnicate\nand more")

    monkeypatch.setattr(sparse.dense_ways, "onnx_session", broken)
    monkeypatch.setattr(sparse.dense_ways, "find_spec", lambda name: name)
    (asked,) = [given_times(monkeypatch, sparse=3.0, eager=1.25)]
    fast = sparse.compile(model, images(*BATCH))
    assert set(asked[0]) == {"sparse", "eager"}
    assert str(fast.plan.network).endswith("this network: no kernel for Frobnicate")
    monkeypatch.setattr(sparse.dense_ways, "find_spec", lambda name: None)
    assert "not installed" in str(sparse.compile(model, images(*BATCH)).plan.network)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x + 1


def test_what_cannot_be_traced_runs_as_it_is_where_that_is_asked_for() -> None:
    model = Branching()
    fast = sparse.compile(model, images(2, 4), impossible="replace")
    for sign in (1, -1):  # a recorded pass would take one branch for both
        batch = sign * images(2, 4).abs()
        with torch.inference_mode():
            assert torch.equal(fast(batch), model(batch))
    assert (fast.plan.network.way, fast.plan.network.ms) == ("eager", {})
    assert "Branching cannot be traced by torch.fx" in fast.plan.network.left_out["sparse"]
    with pytest.raises(ProtocolError, match="one float32 tensor as output"):
        sparse.compile(Two(), images(2, 4), impossible="replace")


class Clock:
    """A clock that only the ways move: each pass of one takes its next number of milliseconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def way(self, ms: Iterator[float]) -> object:
        def forward(batch: Tensor) -> None:
            self.seconds += next(ms) / 1e3

        return forward


def cycle(*ms: float) -> Iterator[float]:
    while True:
        yield from ms


def timed(**ways: tuple[float, ...]) -> dict[str, NetworkTimes]:
    clock = Clock()
    made = {way: clock.way(cycle(*ms)) for way, ms in ways.items()}
    return network_timing.times_in_turns(made, torch.zeros(1), clock)  # type: ignore[arg-type]


def test_turns_end_once_the_fastest_is_clear() -> None:
    times = timed(a=(10.0,), b=(11.0,), c=(30.0,))
    assert {way: found.p50 for way, found in times.items()} == pytest.approx(
        {"a": 10, "b": 11, "c": 30}
    )
    assert all(found.n == 3 * 3 for found in times.values())
    assert network_timing.fastest(times) == "a"


def test_turns_go_on_while_quartiles_overlap_and_end_all_the_same() -> None:
    times = timed(a=(10.0, 12.0), b=(10.0, 12.5))
    assert {found.n for found in times.values()} == {3 * 9}
    assert not network_timing.is_clear(times)


def test_slow_networks_get_few_passes() -> None:
    assert timed(a=(2000.0,), b=(3000.0,))["a"].n == 3
