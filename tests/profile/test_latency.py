"""From networks to a record: turns, equality of backends, sizes, memory, Ctrl-C."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from harness.errors import BenchError, Preempted, ProtocolError
from harness.profile import latency as latency_run
from harness.profile.backends import RUNNERS, Backend
from harness.profile.latency import LatencyRequest, measure_latency
from harness.profile.memory import peak_bytes
from harness.profile.size import size
from harness.profile.timed_networks import (
    TimedNetwork,
    TimedNetworks,
    input_shape_of,
    networks_of_model,
    prune_at_random_,
)
from harness.profile.timing import BURST, SETTLE_S, WARMUP_PASSES, Precision, in_turns
from harness.results import interval_width

SHAPE = (3, 8, 8)
ATOL = 1e-5  # float32 sums of 27 products in another order


def tiny() -> nn.Sequential:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten())
    return nn.Sequential(*layers).eval()


def subjects(*networks: nn.Module) -> TimedNetworks:
    named = (TimedNetwork(f"net{i}", "tiny", "random", net) for i, net in enumerate(networks))
    return TimedNetworks("local-tiny", SHAPE, tuple(named))


def test_a_device_that_is_not_waited_for_is_refused() -> None:
    with pytest.raises(ProtocolError, match="'mps' is not timed: only cpu and cuda"):
        measure_latency(subjects(tiny()), LatencyRequest(device="mps"))


class Clock:
    """Time that passes only while a way runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self, like: Tensor) -> float:
        return self.now


def test_ways_take_turns_and_every_second_round_goes_backwards() -> None:
    clock, seen = Clock(), []

    def way(name: str, seconds: float) -> tuple[str, object]:
        def run(images: Tensor) -> None:
            seen.append(name)
            clock.now += seconds

        return name, run

    ways = dict([way("a", 0.25), way("b", 0.5)])
    taken = in_turns(ways, torch.zeros(1), 31, clock=clock)  # type: ignore[arg-type]
    assert taken == {"a": [250.0] * 31, "b": [500.0] * 31}
    turn = 1 + BURST
    warm = ["a"] * WARMUP_PASSES + ["b"] * WARMUP_PASSES
    rounds = [["a"] * turn + ["b"] * turn, ["b"] * turn + ["a"] * turn] * 5
    last = ["a"] * 2 + ["b"] * 2  # the 31st pass and the untimed one before it
    assert seen == [*warm, *itertools.chain(*rounds), *last]


def test_a_turn_begins_with_untimed_passes_until_the_machine_has_settled() -> None:
    clock, seen = Clock(), []

    def run(images: Tensor) -> None:
        seen.append(clock.now)
        clock.now += SETTLE_S / 4

    taken = in_turns({"a": run}, torch.zeros(1), 30, burst=10, clock=clock)
    assert len(taken["a"]) == 30
    assert len(seen) == WARMUP_PASSES + 3 * (4 + 10)


def after(durations: Iterator[float]) -> tuple[Clock, dict[str, Callable[[Tensor], object]]]:
    """A clock, and one way that takes the durations one after the other."""
    clock = Clock()

    def run(images: Tensor) -> None:
        clock.now += next(durations)

    return clock, {"a": run}


def test_a_measurement_stops_once_the_median_is_known_well_enough() -> None:
    until = Precision(width=0.05, most=60)
    clock, ways = after(itertools.repeat(1.0))
    assert len(in_turns(ways, torch.zeros(1), 30, clock=clock, until=until)["a"]) == 30
    noise = random.Random(0)
    clock, ways = after(iter(lambda: noise.uniform(1.0, 3.0), None))
    assert len(in_turns(ways, torch.zeros(1), 30, clock=clock, until=until)["a"]) == 60
    # Noise for ten turns, then steady passes: more and more middle ranks fall among those.
    passes = WARMUP_PASSES + 10 * (1 + BURST)
    noisy = (noise.uniform(1.0, 3.0) for _ in range(passes))
    clock, ways = after(itertools.chain(noisy, itertools.repeat(2.0)))
    taken = in_turns(ways, torch.zeros(1), 30, clock=clock, until=Precision(most=300))["a"]
    assert interval_width(taken) <= 0.05 < interval_width(taken[:-BURST])
    assert 30 < len(taken) < 300


def test_too_few_repeats_are_refused_before_anything_runs() -> None:
    with pytest.raises(ProtocolError, match="29 repeats are too few"):
        in_turns({"a": lambda images: pytest.fail("ran")}, torch.zeros(1), 29)
    with pytest.raises(ProtocolError, match="1 repeats are too few"):
        measure_latency(subjects(tiny()), LatencyRequest(repeats=1))


@pytest.mark.parametrize("name", [name for name in RUNNERS if name != "compile"])
def test_a_backend_computes_what_eager_does(name: str) -> None:
    backend, network = RUNNERS[name], tiny()
    reason = backend.unavailable(torch.device("cpu"))
    if reason:
        pytest.skip(reason)
    images = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    forward = backend.start(backend.convert(network, images), images)
    with torch.inference_mode():
        torch.testing.assert_close(forward(images), network(images), atol=ATOL, rtol=0)


@pytest.mark.slow
def test_many_compiled_networks_stay_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    if RUNNERS["compile"].unavailable(torch.device("cpu")):
        pytest.skip("no C++ compiler")
    # The frontend alone decides whether a form is kept; the code generator would take seconds each.
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: compile_(f, backend="eager", **how))
    images = torch.randn(1, *SHAPE)
    made = []
    for width in range(4, 14):  # torch keeps 8 forms of one code object
        network = nn.Conv2d(3, width, 3).eval()
        made.append((network, RUNNERS["compile"].start(network, images)))
    with torch.inference_mode():
        for network, forward in made:
            assert torch.equal(forward(images), network(images))
        before = dict(torch._dynamo.utils.counters["stats"])
        for _, forward in made:
            forward(images)
    assert dict(torch._dynamo.utils.counters["stats"]) == before  # nothing was compiled again


def test_a_record_holds_every_way_with_its_samples() -> None:
    ways = ("eager", "channels_last")
    request = LatencyRequest(backends=ways, batches=(1, 2), burst=30, memory=False)
    record = measure_latency(subjects(tiny(), tiny()), request)
    ways = [(t.batch, t.network, t.backend) for t in record.timings]
    nets, ways_of = ("net0", "net1"), ("eager", "channels_last")
    assert ways == [(b, n, k) for b in (1, 2) for n in nets for k in ways_of]
    assert all(len(t.samples_ms) == t.ms.n == 30 and t.ms.p25 <= t.ms.p50 for t in record.timings)
    assert all(t.largest_difference <= ATOL for t in record.timings)
    assert record.networks[0].total == 3 * 4 * 9 + 4 * 2 * 9
    assert record.networks[0].macs_dense == 108 * 36 + 72 * 16
    assert record.hardware["machine"] and record.reference(2) == record.timings[4]
    assert all(t.peak_memory_bytes is None for t in record.timings)


def wrong(network: nn.Module, images: Tensor) -> nn.Module:
    other = tiny()
    with torch.no_grad():
        other[0].weight.mul_(1.001)
    return other


def broken(network: nn.Module, images: Tensor) -> nn.Module:
    raise RuntimeError("no kernel in /some/where/kernels.cpp for this\nand a long trace")


def test_fast_wrong_answers_and_failing_backends_are_left_out_with_their_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, convert in (("wrong", wrong), ("broken", broken)):
        odd = Backend(name, lambda device: "", convert, lambda network, images: network)
        monkeypatch.setitem(RUNNERS, name, odd)
    missing = Backend(
        "absent", lambda device: "install it", broken, lambda network, images: network
    )
    monkeypatch.setitem(RUNNERS, "absent", missing)
    ways = ("eager", "wrong", "broken", "absent")
    record = measure_latency(
        subjects(tiny()), LatencyRequest(backends=ways, batches=(1,), memory=False)
    )
    assert [t.backend for t in record.timings] == ["eager"]
    reasons = {s.backend: s.reason for s in record.skipped}
    assert "a fast wrong answer is not timed" in reasons["wrong"]
    assert reasons["broken"] == "RuntimeError: no kernel in kernels.cpp for this"
    assert reasons["absent"] == "install it"
    with pytest.raises(BenchError, match="nothing could be timed. absent: install it"):
        measure_latency(
            subjects(tiny()), LatencyRequest(backends=("absent",), batches=(1,), memory=False)
        )


def interrupting(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Ctrl-C when the batch size of that position begins to be timed."""
    calls: Iterator[int] = itertools.count()
    real = latency_run.in_turns

    def stopped(*arguments: object, **named: object) -> object:
        if next(calls) == at:
            raise KeyboardInterrupt
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(latency_run, "in_turns", stopped)


def test_ctrl_c_keeps_the_batch_sizes_that_are_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    request = LatencyRequest(backends=("eager",), batches=(1, 2), burst=30, memory=False)
    interrupting(monkeypatch, at=1)
    record = measure_latency(subjects(tiny()), request)
    assert record.interrupted and [t.batch for t in record.timings] == [1]
    interrupting(monkeypatch, at=0)
    with pytest.raises(Preempted, match="nothing kept"):
        measure_latency(subjects(tiny()), request)


def test_threads_are_set_for_the_measurement_only() -> None:
    before = torch.get_num_threads()
    request = LatencyRequest(
        backends=("eager",), batches=(1,), burst=30, threads=before + 1, memory=False
    )
    record = measure_latency(subjects(tiny()), request)
    assert record.hardware["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_sizes_are_counted_as_defined() -> None:
    network = nn.Linear(8, 4, bias=False)
    with torch.no_grad():
        network.weight.zero_()
        network.weight[0, :3] = 1.0
    found = size(network)
    assert found.dense == 4 * 32
    assert found.packed == 4 + 4 * 3  # 32 bits and three values
    assert found.deflated < found.dense
    with torch.no_grad():
        network.weight.fill_(1.5)
    assert size(network).packed == 4 * 32  # a mask would not pay


def test_memory_of_the_weights_is_seen_in_the_child() -> None:
    width = 2048
    network = nn.Linear(width, width, bias=False)
    found = peak_bytes("eager", network, network, torch.zeros(1, width))
    if found is None:
        pytest.skip("this system keeps no peak")
    weights = 4 * width * width
    assert weights <= found < 4 * weights  # libraries are not in it, the weights are


class Local(nn.Module):
    """Its forward pass is a closure, which no other process can be given."""

    def __init__(self) -> None:
        super().__init__()
        self.forward = lambda images: images  # type: ignore[method-assign]


def test_what_cannot_be_handed_over_has_no_memory_figure() -> None:
    assert peak_bytes("eager", Local(), Local(), torch.zeros(1)) is None


def test_a_form_that_cannot_be_handed_over_is_made_again_in_the_child() -> None:
    found = peak_bytes("eager", nn.Linear(8, 8), Local(), torch.zeros(1, 8))
    assert found is None or found > 0


def test_zeros_at_random_places_keep_exactly_what_the_budget_says() -> None:
    network = tiny()
    prune_at_random_(network, {"0": 0.9, "3": 5}, torch.Generator().manual_seed(0))
    assert int(network[0].weight.count_nonzero()) == 108 - round(0.9 * 108)
    assert int(network[3].weight.count_nonzero()) == 5
    with pytest.raises(ProtocolError, match="names layer 'fc', which the network lacks"):
        prune_at_random_(network, {"fc": 0.5}, torch.Generator())


def test_random_networks_answer_with_finite_numbers_and_are_the_same_each_time() -> None:
    one, two = (networks_of_model("resnet20").networks[0].network for _ in range(2))
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        assert torch.equal(one(images), two(images))
        assert math.isfinite(float(one(images).abs().max()))
    assert not one.training and one.bn1.momentum == 0.1


@pytest.mark.gpu
def test_cuda_is_timed_and_its_memory_is_the_allocators() -> None:
    ways = ("eager", "channels_last", "onnxruntime")
    request = LatencyRequest(backends=ways, batches=(2,), device="cuda")
    record = measure_latency(networks_of_model("resnet20"), request)
    assert [t.backend for t in record.timings] == ["eager", "channels_last"]
    assert record.skipped[0].reason == "onnxruntime is timed on the CPU only"
    assert all((t.peak_memory_bytes or 0) > record.networks[0].dense_bytes for t in record.timings)
    assert record.place.device == "cuda" and record.hardware["accelerator"]


def test_drawing_networks_leaves_the_callers_generator_alone() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one = networks_of_model("convnet_tiny").networks[0].network.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    again = networks_of_model("convnet_tiny").networks[0].network.state_dict()
    assert all(torch.equal(one[name], again[name]) for name in one)


@pytest.mark.parametrize(
    ("model", "shape"),
    [("lenet300", (1, 28, 28)), ("convnet_tiny", (1, 8, 8)), ("squeezenet1_1", (3, 224, 224))],
)
def test_pictures_have_the_shape_that_the_network_was_made_for(model, shape) -> None:
    assert input_shape_of(model, None) == shape
